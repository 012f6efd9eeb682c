"""The devices that torch can use on this machine and the memory of each."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Device:
    """A device: torch's name for it, a label for people, bytes of memory, and whether it computes in bfloat16."""

    name: str
    label: str
    total: int
    free: int
    bf16: bool


def devices() -> list[Device]:
    """Every device torch can use here, the fastest kind first; the CPU is always the last. Imports torch."""
    return [*_cuda(), *_mps(), _cpu()]


def memory() -> tuple[int, int]:
    """Bytes of RAM in all and available to this process, within a container's limit. Needs no torch."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = mac_free_memory(_vm_stat()) if sys.platform == "darwin" else _linux_available(total)
    limit, used = cgroup_memory()
    return min(total, limit), max(0, min(free, limit - used))


def _cuda() -> list[Device]:
    import torch

    if not torch.cuda.is_available():
        return []
    gpus = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        bf16 = torch.cuda.get_device_capability(index) >= (8, 0)
        gpus.append(Device(f"cuda:{index}", torch.cuda.get_device_name(index), total, free, bf16))
    return gpus


def _mps() -> list[Device]:
    import torch

    if not torch.backends.mps.is_available():
        return []
    total = torch.mps.recommended_max_memory()
    free = min(total - torch.mps.driver_allocated_memory(), memory()[1])
    return [Device("mps", "Apple GPU", total, free, torch.backends.mps.is_macos_or_newer(14, 0))]


def _cpu() -> Device:
    total, free = memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Device("cpu", f"CPU, {cores} core{'s' if cores > 1 else ''}", total, free, True)


def _linux_available(total: int) -> int:
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return total
    return int(match[1]) * 1024 if match else total


def _vm_stat() -> str:
    return subprocess.run(["/usr/bin/vm_stat"], capture_output=True, text=True, check=True).stdout


def mac_free_memory(report: str) -> int:
    """Bytes of the pages in vm_stat's report that are free or that the system reclaims on demand."""
    size = re.search(r"page size of (\d+) bytes", report)
    pages = re.findall(r"^Pages (?:free|inactive|speculative|purgeable):\s+(\d+)\.", report, re.MULTILINE)
    return int(size[1] if size else 4096) * sum(map(int, pages))


def cgroup_memory(root: Path = Path("/sys/fs/cgroup")) -> tuple[int, int]:
    """Memory limit and use in bytes of this process's control group (version 2); reclaimable page cache is not counted."""
    try:
        limit = int((root / "memory.max").read_text())
        used = int((root / "memory.current").read_text())
        cache = re.search(r"^inactive_file (\d+)$", (root / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):  # no control groups of version 2, or "max"
        return sys.maxsize, 0
    return limit, used - int(cache[1] if cache else 0)
