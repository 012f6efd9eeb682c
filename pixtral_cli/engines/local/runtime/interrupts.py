"""Runs work that KeyboardInterrupt must not abort, such as importing C extensions."""

import _thread
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def with_interrupts_deferred(work: Callable[[], T]) -> T:
    """The result of `work`, which runs in a second thread while the main thread waits.

    KeyboardInterrupt ends the wait at once; the work still runs to its end and its result is dropped. An import that
    is aborted half-way would leave C extensions behind that cannot be loaded a second time.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    done: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # raised again in the waiting thread
            done.put((None, error))

    # threading.Thread and Future wait on conditions written in Python; interrupting one of those raises RuntimeError.
    _thread.start_new_thread(run, ())
    result, error = done.get()
    if error:
        raise error
    return result  # type: ignore[return-value]
