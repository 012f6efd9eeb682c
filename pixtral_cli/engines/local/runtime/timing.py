"""Timings of one answer, by phase."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from pixtral_cli.chat.engine import Timings


class PhaseTimer:
    """Measures an answer from its construction on: the phases by `time`, the time to first token by `first_token`."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._first: float | None = None
        self._phases = {"load": 0.0, "encode": 0.0, "prefill": 0.0}

    @contextmanager
    def time(self, phase: Literal["load", "encode", "prefill"]) -> Iterator[None]:
        """Add the duration of the block to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._phases[phase] += time.perf_counter() - start

    def first_token(self) -> None:
        """Record the time of the first token; later calls do nothing."""
        if self._first is None:
            self._first = time.perf_counter()

    def timings(self, peak_memory: int) -> Timings:
        """The timings until now, in seconds. `peak_memory`: bytes."""
        now = time.perf_counter()
        first = self._first or now
        return Timings(
            **self._phases,
            ttft=first - self._start - self._phases["load"],
            decode=now - first,
            total=now - self._start,
            peak_memory=peak_memory,
        )
