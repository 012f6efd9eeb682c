"""Measures the memory of this machine and of processes: RAM and NVIDIA GPUs. Does not import torch."""

import contextlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

GPU_SHARE = 0.9  # of a GPU's memory; its driver and a desktop take the rest
RAM_SHARE = 0.9  # of the RAM, when nothing else runs
EASY_SHARE = 0.7  # of the RAM, beside a browser and a desktop


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of RAM, and of the largest NVIDIA GPU's memory (0 if there is none)."""

    ram: int
    gpu: int = 0

    def model_limit(self, share: float = RAM_SHARE) -> int:
        """The most bytes that a model may take: most of the GPU's memory, or without a GPU a share of the RAM."""
        return max(int(self.gpu * GPU_SHARE), 0 if self.gpu else int(self.ram * share))


def installed() -> Memory:
    """The total memory of this machine."""
    return Memory(ram()[0], max(nvidia_gpus(), default=0))


def ram() -> tuple[int, int]:
    """Total and available bytes of RAM, within the limit of a container."""
    import psutil

    memory, (limit, used) = psutil.virtual_memory(), cgroup_memory()
    return min(memory.total, limit), max(0, min(memory.available, limit - used))


def process_memory(pid: int) -> int | None:
    """The resident memory of a process in bytes; None if it is unknown."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, ValueError):
        return None


def peak_process_memory() -> int:
    """The peak resident memory of this process in bytes."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        info = psutil.Process().memory_info()
        return int(getattr(info, "peak_wset", info.rss))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def release_freed_memory() -> None:
    """Return to the system what this process has freed; does nothing without glibc, whose heaps keep it."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def nvidia_gpus() -> list[int]:
    """The memory of each NVIDIA GPU in bytes, from the driver's management library (NVML); empty without a driver."""
    if not Path("/proc/driver/nvidia/version").exists():
        return []
    import ctypes

    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return []
    count, sizes = ctypes.c_uint(), []
    if nvml.nvmlInit_v2():
        return []
    if not nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        for index in range(count.value):
            handle, info = ctypes.c_void_p(), (ctypes.c_ulonglong * 3)()  # total, free, used
            if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)):
                continue
            if not nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(info)):
                sizes.append(int(info[0]))
    nvml.nvmlShutdown()
    return sizes


def cgroup_memory(root: Path = Path("/sys/fs/cgroup")) -> tuple[int, int]:
    """Memory limit and use in bytes of this process's control group (version 2); reclaimable page cache is not counted."""
    try:
        limit = int((root / "memory.max").read_text())
        used = int((root / "memory.current").read_text())
        cache = re.search(r"^inactive_file (\d+)$", (root / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):  # no control groups of version 2, or "max"
        return sys.maxsize, 0
    return limit, used - int(cache[1] if cache else 0)
