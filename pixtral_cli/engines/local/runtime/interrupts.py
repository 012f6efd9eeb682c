"""Work that Ctrl-C must not cut in the middle: importing large libraries, and what they might swallow it in."""

import _thread
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


def undisturbed(work: Callable[[], T]) -> T:
    """The result of `work`, done in a thread of its own while this one waits.

    Ctrl-C ends the waiting at once, whatever the work is doing, and the work goes on for nobody. An import that is cut
    in the middle would leave C extensions behind that cannot be loaded a second time.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    done: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # raised again where it is waited for
            done.put((None, error))

    # Threads and futures wait on conditions written in Python, and one that Ctrl-C cuts raises RuntimeError instead.
    _thread.start_new_thread(run, ())
    result, error = done.get()
    if error:
        raise error
    return result  # type: ignore[return-value]
