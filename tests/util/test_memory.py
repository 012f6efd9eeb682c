"""The memory of this machine, as the kernel, a control group and a Mac report it."""

import sys
from pathlib import Path

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


def test_on_a_mac_what_the_system_would_give_away_is_free() -> None:
    report = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            300000.
Pages inactive:                           20000.
Pages speculative:                          500.
Pages wired down:                        100000.
Pages purgeable:                             12.
"Translation faults":                 123456789.
"""
    assert memory.mac_free_memory(report) == 16384 * (10_000 + 20_000 + 500 + 12)
