"""Bounds work by what is done, not by how long it takes: a busy machine takes long for little."""

import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def at_most(calls: int, memory: int | None = None) -> Iterator[None]:
    """Fails once more functions have been called in this thread, or afterwards if more bytes were held at a time."""
    left = calls
    failure = AssertionError(f"more than {calls:,} calls")

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left
        left -= event in ("call", "c_call")
        if left == 0:
            raise failure

    if memory is not None:
        tracemalloc.start()
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)
        peak = tracemalloc.get_traced_memory()[1] if memory is not None else 0
        if memory is not None:
            tracemalloc.stop()
    assert left > 0, str(failure)  # also where what was called has caught it
    assert memory is None or peak <= memory, f"{peak:,} bytes"
