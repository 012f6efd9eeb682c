"""Cancelling an answer from any thread while it is being computed."""

import threading
from collections.abc import Callable, Generator, Iterator

from pixtral_cli.chat.engine import Chunk

CancelCheck = Callable[[], None]


def no_cancel() -> None:
    """The check for work that cannot be cancelled: does nothing."""


class Cancelled(BaseException):
    """The stream was closed while it was being computed."""


class CancellableStream(Iterator[Chunk]):
    """The chunks of one answer. Any thread may call `close`, also while another thread iterates."""

    def __init__(self, generate: Callable[[CancelCheck], Generator[Chunk, None, None]]) -> None:
        """`generate` must often call the check that it is given, which raises `Cancelled` once the stream is closed."""
        self._closed = closed = threading.Event()

        def check() -> None:  # no reference to the stream, so that an abandoned one is collected at once
            if closed.is_set():
                raise Cancelled

        self._chunks = generate(check)

    def __next__(self) -> Chunk:
        try:
            return next(self._chunks)
        except Cancelled:
            raise StopIteration from None

    def close(self) -> None:
        """End the stream. If another thread is computing it, the stream ends there at the next check."""
        self._closed.set()
        try:
            self._chunks.close()
        except ValueError:  # the generator is running in another thread
            return
