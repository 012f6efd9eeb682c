"""Work in several threads: results in the order of their items, cancelling, and the rate of progress."""

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
    """The result of this work is not needed any more."""


class Cancellation:
    """Ends running answers from another thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._streams: set[Any] = set()

    @contextmanager
    def watching(self, stream: Any) -> Iterator[Iterator[Any]]:
        """The stream, which `now` closes; it is also closed at the end of the block."""
        self._streams.add(stream)
        try:
            self.check()
            yield stream
        finally:
            self._streams.discard(stream)
            stream.close()

    def check(self) -> None:
        if self._event.is_set():
            raise Cancelled

    def now(self) -> None:
        self._event.set()
        for stream in list(self._streams):
            with suppress(ValueError):  # a generator that runs just now: it will check for itself
                stream.close()


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int, ahead: int
) -> Generator[Result, None, None]:
    """The result of `work` for each item, in the order of items: each as soon as it and all before it are done.

    The items are taken by the workers themselves: a slow source delays no result. No more than `ahead`
    items are taken whose results were not yet returned. The first error, of source or work, is raised in its place.
    """
    line = _OrderedResults(work, iter(items), ahead)
    threads = [threading.Thread(target=line.run, name="worker", daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        while (slot := line.slots.get()) is not None:
            yield slot.result()
            line.room.release()
    finally:
        line.end(workers)
        until = time.monotonic() + JOIN_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


class _OrderedResults:
    """Items are taken one after another, worked on in parallel, and their results handed over in order."""

    def __init__(self, work: Callable[[Any], Any], source: Iterator[Any], ahead: int) -> None:
        self.slots: SimpleQueue[Future[Any] | None] = SimpleQueue()
        self.room = threading.Semaphore(ahead)
        self._work = work
        self._source = source
        self._taking = threading.Lock()
        self._over = threading.Event()

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
        self.room.acquire()
        with self._taking:
            if self._over.is_set():
                return None
            slot: Future[Any] = Future()
            try:
                item = next(self._source)
            except StopIteration:
                self._over.set()
                self.slots.put(None)
                return None
            except BaseException as error:  # raised where this item's result is read
                self._over.set()
                slot.set_exception(error)
                self.slots.put(slot)
                return None
            self.slots.put(slot)
            return item, slot

    def end(self, workers: int) -> None:
        self._over.set()
        self.room.release(workers)


class ProgressRate:
    """The rate of a job of `total` items, of which `done` were finished before it began."""

    def __init__(self, total: int | None, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._before = done
        self._clock = clock
        self._began = clock()

    def rate(self, done: int) -> float | None:
        """Items a second; None before the first one of this run."""
        seconds = self._clock() - self._began
        return (done - self._before) / seconds if done > self._before and seconds > 0 else None

    def left(self, done: int) -> float | None:
        """Seconds that the rest will take; None while that is unknown."""
        rate = self.rate(done)
        return (self._total - done) / rate if rate and self._total is not None else None
