"""An answer in the making, which any thread may stop. Leaves the making to the steps it is given."""

import threading
from collections.abc import Callable, Generator, Iterator

from pixtral_cli.chat.engine import Chunk

Check = Callable[[], None]


def go_on() -> None:
    """A check for what nobody stops."""


class Stopped(BaseException):
    """The answer was closed while it was being computed."""


class Answer(Iterator[Chunk]):
    """The chunks of one answer. `close` may be called from any thread: also one that is not pulling the answer."""

    def __init__(self, steps: Callable[[Check], Generator[Chunk, None, None]]) -> None:
        """`steps` is handed a check that raises `Stopped` once the answer is closed, to be called often."""
        self._closed = closed = threading.Event()

        def check() -> None:  # knows nothing of this object, so that one that is dropped ends there and then
            if closed.is_set():
                raise Stopped

        self._steps = steps(check)

    def __next__(self) -> Chunk:
        try:
            return next(self._steps)
        except Stopped:
            raise StopIteration from None

    def close(self) -> None:
        """End the answer here. If another thread is computing it, that thread finds it ended at its next check."""
        self._closed.set()
        try:
            self._steps.close()
        except ValueError:  # it is running in another thread
            return
