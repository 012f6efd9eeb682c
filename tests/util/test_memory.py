"""The memory of this machine, as the system and a control group report it."""

import platform
import sys
from pathlib import Path

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
