"""Which device and dtype to compute with, and whether something fits there. What devices there are is in `devices`."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pixtral_cli.engines.local.runtime.devices import memory
from pixtral_cli.errors import OutOfMemory, UsageError

DTYPES = {
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
    "fp16": torch.float16,
    "float16": torch.float16,
    "fp32": torch.float32,
    "float32": torch.float32,
}
GIB = 1 << 30
THREADS = torch.get_num_threads()
TINY = 1 << 26  # bytes of weights below which threads wait for one another longer than they compute
SMALL = 1 << 28  # bytes of weights below which float32 costs nothing worth saving on a CPU

Available = Callable[[torch.device], int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A device and a dtype by name, or "auto", and who says how many bytes are free there.

    `quantize` is a quantization by name, or "auto"; `cache` where quantized weights are kept. `note` hears of a choice.
    `positions` is for how many tokens there must be room beside the weights.
    """

    device: str
    dtype: str
    available: Available
    quantize: str = "none"
    cache: Path | None = None
    note: Callable[[str], None] = lambda line: None
    positions: int = 0


def choose_device(wanted: str) -> torch.device:
    """The device of that name; "auto" is CUDA, else MPS, else the CPU. Raises UsageError when it is not there."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if wanted == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    kind, _, index = wanted.partition(":")
    there = {"cpu": not index, "mps": mps and not index, "cuda": cuda and (not index or index.isdigit())}
    if kind not in there:
        raise UsageError(f"There is no device named {wanted!r}", "Devices: auto, cpu, cuda, cuda:1, mps")
    if not there[kind] or (index and int(index) >= torch.cuda.device_count()):
        raise UsageError(f"This machine has no device {wanted!r} that torch can use", "Try: --device auto")
    return torch.device(wanted)


def choose_dtype(wanted: str, device: torch.device, stored: torch.dtype, size: int) -> torch.dtype:
    """The dtype to compute in. On "auto": bfloat16 where the device has it; on a CPU without it, and for weights so
    small that it does not matter, float32.

    `stored` is the dtype of the checkpoint, `size` its weights in bytes.
    """
    if wanted != "auto":
        if wanted not in DTYPES:
            raise UsageError(f"There is no dtype named {wanted!r}", f"Dtypes: auto, {', '.join(DTYPES)}")
        return DTYPES[wanted]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "mps":
        return torch.bfloat16 if torch.backends.mps.is_macos_or_newer(14, 0) else torch.float16
    if size <= SMALL:
        return torch.float32
    converted = 4 * size // stored.itemsize
    return torch.bfloat16 if _cpu_has_bfloat16() or converted > available(device) else torch.float32


def _cpu_has_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def threads(size: int) -> int:
    """As many as pay for a model of so many bytes."""
    return 1 if size <= TINY else THREADS


def use_threads(count: int) -> None:
    """Let torch compute with so many in this thread."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def total(device: torch.device) -> int:
    """Bytes of memory that the device has."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    return memory()[0]


def available(device: torch.device) -> int:
    """Bytes of memory that a new tensor on the device may take."""
    if device.type == "cuda":
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + idle
    if device.type == "mps":
        idle = torch.mps.driver_allocated_memory() - torch.mps.current_allocated_memory()
        return min(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory(), memory()[1]) + idle
    return memory()[1]


def release(device: torch.device) -> None:
    """Give memory that no tensor uses any more back to the device's other users."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def peak_memory(device: torch.device) -> int:
    """The most bytes there were in use: of the device where it counts them, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def not_enough(what: str, have: int, need: int, hint: str) -> OutOfMemory:
    """The error that says so in GiB."""
    return OutOfMemory(f"{what} needs {gib(need)} of memory, {gib(max(have, 0))} is free", hint)


def gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB // 10 else f"{size / (1 << 20):.1f} MiB"
