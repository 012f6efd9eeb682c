"""The devices that torch can use on this machine and the memory of each."""

import os
from dataclasses import dataclass

from pixtral_cli.util.memory import ram


@dataclass(frozen=True, slots=True)
class Device:
    """A device.

    `name`: torch's; `label`: for display; `total` and `free`: bytes of memory; `bf16`: it computes in bfloat16.
    """

    name: str
    label: str
    total: int
    free: int
    bf16: bool


def devices() -> list[Device]:
    """The devices that torch can use, the fastest kind first; the CPU is always the last. Imports torch."""
    return [*_cuda(), *_mps(), _cpu()]


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
    free = min(total - torch.mps.driver_allocated_memory(), ram()[1])
    return [Device("mps", "Apple GPU", total, free, torch.backends.mps.is_macos_or_newer(14, 0))]


def _cpu() -> Device:
    total, free = ram()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Device("cpu", f"CPU, {cores} core{'s' if cores > 1 else ''}", total, free, True)
