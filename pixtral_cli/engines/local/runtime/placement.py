"""Chooses the device, dtype and thread count to compute with, and measures the device's memory."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from pixtral_cli.errors import OutOfMemory, UsageError
from pixtral_cli.util.memory import ram

DTYPES = {
    "bf16": torch.bfloat16,
    "bfloat16": torch.bfloat16,
    "fp16": torch.float16,
    "float16": torch.float16,
    "fp32": torch.float32,
    "float32": torch.float32,
}
GIB = 1 << 30
TORCH_THREADS = torch.get_num_threads()
SINGLE_THREAD_BYTES = 1 << 26  # up to this size of weights one thread is fastest
SMALL_MODEL_BYTES = 1 << 28  # up to this size of weights a CPU computes in float32

AvailableMemory = Callable[[torch.device], int]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How to load: device, dtype and quantization by name or "auto".

    `available` returns a device's free bytes, `cache` is the folder for quantized weights, `note` receives a line about
    an automatic choice, `positions` is the number of tokens whose KV cache must fit beside the weights.
    """

    device: str
    dtype: str
    available: AvailableMemory
    quantize: str = "none"
    cache: Path | None = None
    note: Callable[[str], None] = lambda line: None
    positions: int = 0


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA, else MPS, else the CPU. Raises UsageError when it is not there."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    kind, _, index = name.partition(":")
    usable = {"cpu": not index, "mps": mps and not index, "cuda": cuda and (not index or index.isdigit())}
    if kind not in usable:
        raise UsageError(f"There is no device named {name!r}", "Devices: auto, cpu, cuda, cuda:1, mps")
    if not usable[kind] or (index and int(index) >= torch.cuda.device_count()):
        raise UsageError(f"This machine has no device {name!r} that torch can use", "Try: --device auto")
    return torch.device(name)


def choose_dtype(name: str, device: torch.device, size: int, float32_size: int) -> torch.dtype:
    """The dtype of that name. "auto" is bfloat16 where the device computes in it (float16 on other GPUs); on a CPU
    float32 for a small model, or without bfloat16 instructions when it fits.

    `size` and `float32_size` are the bytes of the weights as they are stored and with float32 in place of other floats.
    """
    if name != "auto":
        if name not in DTYPES:
            raise UsageError(f"There is no dtype named {name!r}", f"Dtypes: auto, {', '.join(DTYPES)}")
        return DTYPES[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "mps":
        return torch.bfloat16 if torch.backends.mps.is_macos_or_newer(14, 0) else torch.float16
    if size <= SMALL_MODEL_BYTES:
        return torch.float32
    return torch.bfloat16 if _cpu_has_bfloat16() or float32_size > available_memory(device) else torch.float32


def _cpu_has_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def thread_count(size: int) -> int:
    """The number of torch threads for weights of `size` bytes."""
    return 1 if size <= SINGLE_THREAD_BYTES else TORCH_THREADS


def set_threads(count: int) -> None:
    """Set torch's thread count for the calling thread."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def total_memory(device: torch.device) -> int:
    """Bytes of memory that the device has."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    return ram()[0]


def available_memory(device: torch.device) -> int:
    """Bytes of memory that a new tensor on the device may take."""
    if device.type == "cuda":
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + idle
    if device.type == "mps":
        idle = torch.mps.driver_allocated_memory() - torch.mps.current_allocated_memory()
        return min(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory(), ram()[1]) + idle
    return ram()[1]


def release_memory(device: torch.device) -> None:
    """Return unused cached memory to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def peak_memory(device: torch.device) -> int:
    """Peak bytes in use: on the device where it counts them, else by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def out_of_memory(what: str, have: int, need: int, hint: str) -> OutOfMemory:
    """The error that names the bytes needed and free."""
    return OutOfMemory(f"{what} needs {format_size(need)} of memory, {format_size(max(have, 0))} is free", hint)


def format_size(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB // 10 else f"{size / (1 << 20):.1f} MiB"
