"""Loading beside reading the file: with the file in memory, and from the disk up to the first token."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import apart
from benchmarks.checkpoints import WEIGHTS
from benchmarks.peers.pixtral import engine
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.engine import import_model

BLOCK = 1 << 24


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """Median seconds of each of `WORK` in a process of its own, Python's imports not counted."""
    taken: dict[str, list[float]] = {name: [] for name in WORK}
    for _ in range(rounds):
        for name, seconds in taken.items():
            seconds.append(apart.call("benchmarks.loading:timed", name, folder))
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def timed(name: str, folder: str) -> float:
    import_model()
    place = Path(folder)
    if "disk" in name:
        _forget(place / WEIGHTS)
    else:
        _read(place)
    start = time.perf_counter()
    WORK[name](place)
    return time.perf_counter() - start


def _read(folder: Path) -> None:
    buffer = bytearray(BLOCK)
    with (folder / WEIGHTS).open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _load(folder: Path) -> None:
    engine(folder).load()


def _answer(folder: Path) -> None:
    *_, _ = engine(folder).stream([user("Begin.")], Sampling(temperature=0.0, max_tokens=1))


def _forget(file: Path) -> None:
    """Out of the system's cache, where it lets go of it."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


WORK: dict[str, Callable[[Path], None]] = {
    "reading the file": _read,
    "load": _load,
    "reading the file from the disk": _read,
    "from the disk to the first token": _answer,
}
