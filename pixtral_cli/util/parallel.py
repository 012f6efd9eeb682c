"""Parallel work in threads: results in the order of the items, cancellation, and the rate of progress."""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
JOIN_SECONDS = 0.3  # seconds that workers have to end once their results are not needed


class Cancelled(Exception):
    """The work was cancelled."""


class Cancellation:
    """Cancels work, and the streams that it reads, from another thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._streams: set[Any] = set()

    @contextmanager
    def watching(self, stream: Any) -> Iterator[Iterator[Any]]:
        """The stream within a context, at whose end it is closed; `cancel` closes it at once. Raises Cancelled."""
        self._streams.add(stream)
        try:
            self.check()
            yield stream
        finally:
            self._streams.discard(stream)
            stream.close()

    def check(self) -> None:
        """Raises Cancelled once `cancel` has been called."""
        if self._event.is_set():
            raise Cancelled

    def cancel(self) -> None:
        """Close the watched streams, and make `check` raise from now on."""
        self._event.set()
        for stream in list(self._streams):
            with suppress(ValueError):  # a generator that is running: its reader will check
                stream.close()


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int, max_pending: int
) -> Generator[Result, None, None]:
    """Yield the result of `work` for each item in the order of the items, as soon as it and all before it are done.

    The worker threads take the items, so that a slow source delays no result. At most `max_pending` items are in work or
    have results that were not yielded. The first error, of the source or of `work`, is raised in its place.
    """
    queue = _OrderedResults(work, iter(items), max_pending)
    threads = [threading.Thread(target=queue.run, name="worker", daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        while (slot := queue.slots.get()) is not None:
            yield slot.result()
            queue.permits.release()
    finally:
        queue.end(workers)
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


class _OrderedResults:
    """Takes items one after another, works on them in parallel and puts their results into a queue in order."""

    def __init__(self, work: Callable[[Any], Any], source: Iterator[Any], max_pending: int) -> None:
        self.slots: SimpleQueue[Future[Any] | None] = SimpleQueue()
        self.permits = threading.Semaphore(max_pending)
        self._work = work
        self._source = source
        self._source_lock = threading.Lock()
        self._ended = threading.Event()

    def run(self) -> None:
        while taken := self._take():
            item, slot = taken
            del taken
            try:
                slot.set_result(self._work(item))
            except BaseException as error:  # raised where the result is read
                slot.set_exception(error)
            del item, slot  # keep no reference while waiting for the next one

    def _take(self) -> tuple[Any, Future[Any]] | None:
        self.permits.acquire()
        with self._source_lock:
            if self._ended.is_set():
                return None
            slot: Future[Any] = Future()
            try:
                item = next(self._source)
            except StopIteration:
                self._ended.set()
                self.slots.put(None)
                return None
            except BaseException as error:  # raised where this item's result is read
                self._ended.set()
                slot.set_exception(error)
                self.slots.put(slot)
                return None
            self.slots.put(slot)
            return item, slot

    def end(self, workers: int) -> None:
        self._ended.set()
        self.permits.release(workers)


class ProgressRate:
    """The rate of a job of `total` items (None: unknown), of which `done` were finished before it started."""

    def __init__(self, total: int | None, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._before = done
        self._clock = clock
        self._began = clock()

    def rate(self, done: int) -> float | None:
        """Items a second in this run; None before the first one."""
        seconds = self._clock() - self._began
        return (done - self._before) / seconds if done > self._before and seconds > 0 else None

    def seconds_left(self, done: int) -> float | None:
        """The estimated seconds that the remaining items take; None while that is unknown."""
        rate = self.rate(done)
        return (self._total - done) / rate if rate and self._total is not None else None
