"""Whose turn it is to compute: a prefill's chunk alone, the running answers' next tokens together. Computes nothing itself.

There is no thread behind it: of the threads that wait for a token one leads, and computes for all of them.
"""

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

MOST = 32  # answers in one step
PATIENCE = 0.25  # of a step's time: how long the next one waits for those who were in it


class Turn:
    """One thread's wish to compute; by `key` a turn is recognised as the same answer's next. `done` by whoever led."""

    def __init__(self, key: object = None) -> None:
        self.key = key
        self.done = False
        self.left = False
        self.wake: SimpleQueue[None] = SimpleQueue()


R = TypeVar("R")
T = TypeVar("T", bound=Turn)


class Turns(Generic[T]):
    """Gives one turn at a time; chunks and steps alternate when both are wanted.

    An exception, Ctrl-C too, ends the turn of the thread it is raised in, and nobody else's: a step that its leader did
    not finish is computed again under the next.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._holder: Turn | None = None
        self._alone: list[Turn] = []
        self._waiting: list[T] = []
        self._running: Sequence[T] = ()
        self._expected: set[object] = set()
        self._until = 0.0

    def alone(self, work: Callable[[], R]) -> R:
        """The result of `work`, during which nobody else computes."""
        results: list[R] = []
        self._during(Turn(), self._alone, lambda: results.append(work()))
        return results[0]

    def together(self, turn: T, compute: Callable[[Sequence[T]], None]) -> None:
        """Returns when `turn` was in a call of `compute`, this thread's or another's.

        `compute` may find turns that an interrupted call has begun. What it raises is raised in its own thread alone.
        """
        self._during(turn, self._waiting, lambda: self._lead(turn, compute))

    def _during(self, turn: Turn, queue: "list[Turn] | list[T]", work: Callable[[], None]) -> None:
        """Do the work when it is this thread's turn, if another has not done it by then; then give the turn on."""
        interrupt: BaseException | None = None
        try:
            if self._take(turn, queue):
                work()
        finally:
            # Here and not in a function or a context manager, which Ctrl-C could cut before its first line.
            while not turn.left:
                try:
                    self._leave(turn)
                except BaseException as error:
                    interrupt = error
            if interrupt:
                raise interrupt

    def _lead(self, turn: T, compute: Callable[[Sequence[T]], None]) -> None:
        self._gather(turn)
        began = time.perf_counter()
        with self._mutex:
            batch = [turn, *(other for other in self._waiting if other is not turn)][:MOST]
            self._running = batch
        compute(batch)
        now = time.perf_counter()
        self._until = now + PATIENCE * (now - began)
        self._expected = {each.key for each in batch}
        for each in batch:
            each.done = True

    def gone(self, key: object) -> None:
        """The answer of that key wants no more tokens: nobody need wait for it.

        Takes no lock: a forgotten answer may be collected, and say this, inside of one.
        """
        self._arrived(key)

    def _take(self, turn: Turn, queue: "list[Turn] | list[T]") -> bool:
        """Wait; True when the turn is this thread's to compute, False when another has computed it."""
        with self._mutex:
            queue.append(turn)  # type: ignore[arg-type]
            self._arrived(turn.key)
            if self._holder is None:
                self._holder = turn
        while True:
            with self._mutex:
                if turn.done or self._holder is turn:
                    return not turn.done
            turn.wake.get()

    def _arrived(self, key: object) -> None:
        if key in self._expected:
            self._expected.discard(key)
            if holder := self._holder:
                holder.wake.put(None)

    def _gather(self, turn: Turn) -> None:
        """Those who were in the last step ask for their next token in a moment: wait for them, but not for long."""
        while self._expected and (left := self._until - time.perf_counter()) > 0:
            try:
                turn.wake.get(timeout=left)
            except Empty:
                return

    def _leave(self, turn: Turn) -> None:
        """May be cut short anywhere and done again."""
        while True:
            with self._mutex:
                if self._holder is turn:
                    self._pass_on(turn)
                if turn not in self._running:
                    self._alone[:] = [other for other in self._alone if other is not turn]
                    self._waiting[:] = [other for other in self._waiting if other is not turn]
                    turn.left = True
                    return
            turn.wake.get()  # another thread is computing with what is ours

    def _pass_on(self, turn: Turn) -> None:
        waiting = [other for other in self._waiting if other is not turn and not other.done]
        alone = [other for other in self._alone if other is not turn]
        queue: Sequence[Turn] = alone if alone and (turn.key is not None or not waiting) else waiting
        following = queue[0] if queue else None
        for running in self._running:
            running.wake.put(None)
        if following:
            following.wake.put(None)
        self._waiting[:], self._alone[:], self._running = waiting, alone, ()
        self._holder = following
