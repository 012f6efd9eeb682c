"""Work in several threads: answers that any thread can stop, results in the order of their items, and the pace. Knows no engine."""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
JOIN_SECONDS = 0.3  # seconds that workers have to end once nobody wants their results


class Cancelled(Exception):
    """What this worker did is not wanted any more."""


class Cancellation:
    """Ends the answers in the making, from another thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._streams: set[Any] = set()

    @contextmanager
    def watching(self, stream: Any) -> Iterator[Iterator[Any]]:
        """The stream, which `now` closes; it is closed at the end of the block too."""
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
    """What `work` makes of each item, in the order of items: each as soon as it and all before it are made.

    The items are taken by the workers themselves: a source that makes them wait holds up no result. No more than `ahead`
    items are taken and not yet given back. The first error, of the source or of the work, is raised in its place.
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
    """Items on their way: taken one after another, worked on at the same time, handed over in order."""

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
            except BaseException as error:  # whoever waits for the result is told
                slot.set_exception(error)
            del item, slot  # nothing is held while the next one is waited for

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
            except BaseException as error:  # whoever waits for this item's result is told
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
