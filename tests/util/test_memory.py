"""The memory of this machine, as the system and a control group report it."""

import ctypes
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from pixtral_cli.util import memory

GIB = 1 << 30


def test_memory_is_bounded_by_the_container_we_are_in(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("4294967296\n")
    (tmp_path / "memory.current").write_text("3221225472\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 1073741824\n")
    assert memory.cgroup_memory(tmp_path) == (4 * GIB, 2 * GIB)
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.cgroup_memory(tmp_path) == (sys.maxsize, 0)
    total, free = memory.ram()
    assert 0 < free <= total


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="Other systems' heaps return what is freed by themselves")
def test_what_was_freed_is_returned_to_the_system() -> None:
    blocks = [bytearray(b"x" * 100_000) for _ in range(1_500)]
    blocks[:-1] = []  # the last one keeps the heap from shrinking
    kept = psutil.Process().memory_info().rss
    memory.release_freed_memory()
    assert psutil.Process().memory_info().rss < kept - 100_000_000
    assert blocks


def test_a_process_has_memory_until_it_has_ended() -> None:
    assert (memory.process_memory(os.getpid()) or 0) > 1_000_000
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert memory.process_memory(ended.pid) is None
    assert memory.process_memory(-1) is None
    assert memory.peak_process_memory() >= 1_000_000


class Nvml:
    """NVIDIA's library with GPUs of these sizes; None for one that does not answer."""

    def __init__(self, *sizes: int | None, failing: str = "") -> None:
        self.sizes, self.failing, self.ended = sizes, failing, False

    def nvmlInit_v2(self) -> int:
        return int(self.failing == "init")

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self.sizes)
        return int(self.failing == "count")

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:
        handle._obj.value = index
        return int(self.sizes[index] is None)

    def nvmlDeviceGetMemoryInfo(self, handle: Any, info: Any) -> int:
        info._obj[0] = self.sizes[handle.value or 0] or 0
        return int(self.sizes[handle.value or 0] == 0)

    def nvmlShutdown(self) -> int:
        self.ended = True
        return 0


@pytest.mark.parametrize(
    ("library", "sizes"),
    [
        (Nvml(24 << 30, None, 80 << 30), [24 << 30, 80 << 30]),
        (Nvml(24 << 30, 0), [24 << 30]),
        (Nvml(24 << 30, failing="init"), []),
        (Nvml(24 << 30, failing="count"), []),
        (None, []),
    ],
)
def test_the_gpus_that_answer_are_counted(
    library: Nvml | None, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str | None) -> Nvml:
        if library is None:
            raise OSError("no such library")
        return library

    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: str(path).startswith("/proc/driver/nvidia") or exists(path))
    monkeypatch.setattr(ctypes, "CDLL", load)
    assert memory.nvidia_gpus() == sizes
    assert library is None or library.ended is (library.failing != "init")


@pytest.mark.parametrize(
    ("found", "share", "most"),
    [
        (memory.Memory(100), memory.RAM_SHARE, 90), (memory.Memory(100), memory.EASY_SHARE, 70),
        (memory.Memory(100, 50), memory.RAM_SHARE, 45), (memory.Memory(10, 50), memory.EASY_SHARE, 45),
    ],
)  # fmt: skip
def test_a_model_may_take_most_of_the_gpu_or_else_of_the_ram(found: memory.Memory, share: float, most: int) -> None:
    assert found.model_limit(share) == most
