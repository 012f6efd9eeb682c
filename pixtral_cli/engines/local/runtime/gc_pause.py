"""Imports without Python's garbage collector, which would look again and again through all that they make and that stays."""

import gc
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_working = 0


def uncollected(work: Callable[[], T]) -> T:
    """The result of `work`, during which no garbage is collected; later collections pass over what is there by then.

    Importing torch and the tokenizer makes three hundred thousand objects. Looking through them takes a fifth of the time to the
    first token, and a tenth of a second in the middle of an answer.
    """
    global _working
    with _lock:
        _working += 1
        gc.disable()
    try:
        return work()
    finally:
        with _lock:
            _working -= 1
            if not _working:
                gc.freeze()
                gc.enable()
