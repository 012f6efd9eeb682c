"""Work that Ctrl-C must not cut in the middle: importing large libraries, and what they might swallow it in."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def undisturbed(work: Callable[[], T]) -> T:
    """The result of `work`, done in a thread of its own while this one waits.

    Ctrl-C ends the waiting at once, whatever the work is doing, and the work goes on for nobody. An import that is cut
    in the middle would leave C extensions behind that cannot be loaded a second time.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # raised again where it is waited for
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done.result()
