"""Chooses the device, dtype and thread count to compute with, and measures the device's memory."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pixtral_cli.errors import OutOfMemory, UsageError
from pixtral_cli.util.memory import peak_process_memory, ram

DTYPES_BY_NAME = {
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
WORKSPACE_BYTES = 1 << 29
SMALL_MODEL_BYTES = 1 << 28  # up to this size of weights a CPU computes in float32

AvailableMemory = Callable[[torch.device], int]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options of loading: device, dtype and quantization by name or "auto".

    `available` returns a device's free bytes; `cache`: the folder of quantized weights; `note` is called with a line
    about an automatic choice; `positions`: tokens whose KV cache must fit beside the weights.
    """

    device: str
    dtype: str
    available: AvailableMemory
    quantize: str = "none"
    cache: Path | None = None
    note: Callable[[str], None] = lambda line: None
    positions: int = 0


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA, else MPS, else the CPU. Raises UsageError when it cannot be used.

    "auto" and "cuda" choose the GPU with the most free memory among those that this build of torch supports.
    """
    cuda, mps = usable_gpus(), torch.backends.mps.is_available()
    if name == "auto":
        return _gpu_with_most_free_memory(cuda) if cuda else torch.device("mps" if mps and _mps_is_correct() else "cpu")
    kind, _, index = name.partition(":")
    known = {"cpu": not index, "mps": not index, "cuda": not index or index.isdigit()}
    if not known.get(kind):
        raise UsageError(f"There is no device named {name!r}", "Devices: auto, cpu, cuda, cuda:1, mps")
    if kind == "mps" and mps and not _mps_is_correct():
        raise UsageError(f"torch {torch.__version__} computes wrongly on Apple GPUs", "Install torch 2.13 or newer")
    if kind == "cuda" and index and torch.cuda.is_available() and int(index) < torch.cuda.device_count():
        if int(index) not in cuda:
            raise UsageError(
                f"This build of torch has no code for {torch.cuda.get_device_name(int(index))}"[:120],
                "Try: --device cpu",
            )
        return torch.device(name)
    if kind == "cuda" and not index and cuda:
        return _gpu_with_most_free_memory(cuda)
    if kind == "cpu" or (kind == "mps" and mps):
        return torch.device(kind)
    raise UsageError(f"This machine has no device {name!r} that torch can use", "Try: --device auto")


def usable_gpus() -> list[int]:
    """The indices of the NVIDIA GPUs that this build of torch has code for."""
    if not torch.cuda.is_available():
        return []
    targets_built = [re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", name) for name in torch.cuda.get_arch_list()]
    targets = [(match[1], int(match[2]), int(match[3])) for match in targets_built if match]

    def runs(major: int, minor: int) -> bool:
        """Whether this build has code for a GPU: machine code of the same major version, or intermediate code."""
        return not targets or any(
            (kind == "sm" and major == target_major and minor >= target_minor)
            or (kind == "compute" and (major, minor) >= (target_major, target_minor))
            for kind, target_major, target_minor in targets
        )

    return [index for index in range(torch.cuda.device_count()) if runs(*torch.cuda.get_device_capability(index))]


def _gpu_with_most_free_memory(gpus: Sequence[int]) -> torch.device:
    free = {index: torch.cuda.mem_get_info(index)[0] for index in gpus} if len(gpus) > 1 else {gpus[0]: 0}
    return torch.device("cuda", max(free, key=lambda index: free[index]))


def _mps_is_correct() -> bool:
    """Whether torch is 2.13 or newer: older versions compute attention on MPS wrongly."""
    return tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 13)


def prepare_device(device: torch.device) -> None:
    """Configure torch for the device, process-wide. Called before anything is put on the device."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        # cuDNN's attention builds a new plan for every number of keys, so for every token; each takes about 30 ms.
        torch.backends.cuda.enable_cudnn_sdp(False)


def workspace(device: torch.device) -> int:
    """Bytes to leave free beside weights and KV cache: for activations, logits, a dequantized matrix and libraries."""
    return 0 if device.type == "cpu" else WORKSPACE_BYTES


def choose_dtype(name: str, device: torch.device, size: int, float32_size: int) -> torch.dtype:
    """The dtype of that name.

    "auto" is bfloat16 where the device computes in it (float16 on other GPUs); on a CPU float32 for a small model, or
    without bfloat16 instructions when it fits. `size`: bytes of the weights as stored; `float32_size`: bytes with
    floating-point weights in float32. Raises UsageError.
    """
    if name != "auto":
        if name not in DTYPES_BY_NAME:
            raise UsageError(f"There is no dtype named {name!r}", f"Dtypes: auto, {', '.join(DTYPES_BY_NAME)}")
        return DTYPES_BY_NAME[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
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
    """Bytes of the device's memory."""
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
    return peak_process_memory()


def out_of_memory(what: str, free: int, needed: int, hint: str) -> OutOfMemory:
    """The error of something that needs more bytes than are free."""
    return OutOfMemory(f"{what} needs {format_size(needed)} of memory, {format_size(max(free, 0))} is free", hint)


def format_size(size: int) -> str:
    """Bytes in GiB or MiB."""
    return f"{size / GIB:.1f} GiB" if size >= GIB // 10 else f"{size / (1 << 20):.1f} MiB"
