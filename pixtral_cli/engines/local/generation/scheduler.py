"""Schedules the computations of concurrent answers: one prefill chunk, or the next decode steps of all as a batch.

There is no scheduler thread. One of the threads with queued work is the leader: it computes its own item, or a batch of
all queued decode steps, and then makes another thread the leader. That saves two thread switches for every token.

Invariants, which hold whenever `_lock` is free:

1. The leader's item is queued, in `exclusive` or `waiting`. While an unfinished item is queued, there is a leader.
2. Only the leader's thread computes, and only it changes `running`, which is empty when a new leader is chosen.
3. A thread does not return while its item is in `running`, not even when interrupted: another thread uses its data.
4. `_lock` is held for bookkeeping alone, never while waiting or computing. It is re-entrant, because Python may collect
an abandoned answer inside of it, and collecting it calls `finish`, which changes nothing but `_expected`.
"""

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

MAX_BATCH = 32  # decode steps computed together
REJOIN_FRACTION = 0.25  # of a step's duration: how long the next step waits for the members of the last


class WorkItem:
    """One thread's request to compute. Items of one answer share a `key`; `done`: a leader has computed it."""

    def __init__(self, key: object = None) -> None:
        self.key = key
        self.done = False
        self.removed = False
        self.wake: SimpleQueue[None] = SimpleQueue()


R = TypeVar("R")
T = TypeVar("T", bound=WorkItem)


class Scheduler(Generic[T]):
    """Runs one computation at a time; exclusive work and batches alternate when both are queued.

    An exception, KeyboardInterrupt included, ends only the item of the thread that it is raised in: a batch that its
    leader did not finish is computed again by the next leader.
    """

    def __init__(self) -> None:
        self.exclusive: list[WorkItem] = []
        self.waiting: list[T] = []
        self.running: Sequence[T] = ()
        self._lock = threading.RLock()
        self._leader: WorkItem | None = None
        self._expected: set[object] = set()  # keys of the last batch whose next step is not queued yet
        self._rejoin_deadline = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or running."""
        return self._leader is None and not self.exclusive and not self.waiting

    def run_exclusive(self, work: Callable[[], R]) -> R:
        """The result of `work`, during which nothing else is computed."""
        results: list[R] = []
        self._run(WorkItem(), self.exclusive, lambda: results.append(work()))
        return results[0]

    def run_batched(self, item: T, compute: Callable[[Sequence[T]], None]) -> None:
        """Return when `item` was computed in a batch, by `compute` in this thread or by that of another.

        `compute` may get items that an interrupted call has begun. Its exceptions are raised in the calling thread
        only.
        """
        self._run(item, self.waiting, lambda: self._lead_batch(item, compute))

    def finish(self, key: object) -> None:
        """Declare that the answer with this key needs no more steps: no batch waits for it.

        The garbage collector may call it.
        """
        with self._lock:
            self._stop_expecting(key)

    def _run(self, item: WorkItem, queue: "list[WorkItem] | list[T]", work: Callable[[], None]) -> None:
        interrupt: BaseException | None = None
        try:
            if self._wait_for_lead(item, queue):
                work()
        finally:
            # Inline, since an interrupt could end a function or context manager before its first line.
            while not item.removed:
                try:
                    self._remove(item)
                except BaseException as error:
                    interrupt = error
            if interrupt:
                raise interrupt

    def _lead_batch(self, item: T, compute: Callable[[Sequence[T]], None]) -> None:
        """Compute a batch of `item` and other queued steps."""
        self._wait_for_expected(item)
        began = time.perf_counter()
        with self._lock:
            batch = [item, *(other for other in self.waiting if other is not item)][:MAX_BATCH]
            self.running = batch
        compute(batch)
        now = time.perf_counter()
        with self._lock:
            self._rejoin_deadline = now + REJOIN_FRACTION * (now - began)
            self._expected = {member.key for member in batch}
            for member in batch:
                member.done = True

    def _wait_for_lead(self, item: WorkItem, queue: "list[WorkItem] | list[T]") -> bool:
        """Wait until this thread leads (True) or another thread has computed the item (False)."""
        with self._lock:
            queue.append(item)  # type: ignore[arg-type]
            self._stop_expecting(item.key)
            if self._leader is None:
                self._leader = item
        while True:
            with self._lock:
                if item.done or self._leader is item:
                    return not item.done
            item.wake.get()

    def _stop_expecting(self, key: object) -> None:
        if key in self._expected:
            self._expected.discard(key)
            if leader := self._leader:
                leader.wake.put(None)

    def _wait_for_expected(self, item: WorkItem) -> None:
        """Wait until the members of the last batch have queued their next steps, or until the deadline."""
        while self._expected and (remaining := self._rejoin_deadline - time.perf_counter()) > 0:
            try:
                item.wake.get(timeout=remaining)
            except Empty:
                return

    def _remove(self, item: WorkItem) -> None:
        """Pass on leadership and leave the queues. May be interrupted anywhere and called again."""
        while True:
            with self._lock:
                if self._leader is item:
                    self._hand_over(item)
                if item not in self.running:
                    self.exclusive[:] = [other for other in self.exclusive if other is not item]
                    self.waiting[:] = [other for other in self.waiting if other is not item]
                    item.removed = True
                    return
            item.wake.get()  # the leader is computing with this item's data

    def _hand_over(self, item: WorkItem) -> None:
        """Make another queued item the leader, if there is one, and wake its thread and those of the batch."""
        waiting = [other for other in self.waiting if other is not item and not other.done]
        exclusive = [other for other in self.exclusive if other is not item]
        after_batch = item.key is not None
        queue: Sequence[WorkItem] = exclusive if exclusive and (after_batch or not waiting) else waiting
        following = queue[0] if queue else None
        for member in self.running:
            member.wake.put(None)
        if following:
            following.wake.put(None)
        self.waiting[:], self.exclusive[:], self.running = waiting, exclusive, ()
        self._leader = following
