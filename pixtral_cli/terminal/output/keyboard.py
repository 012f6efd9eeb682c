"""The keyboard while no prompt reads it: what is typed is not echoed and not lost, and Ctrl-C still interrupts."""

import contextlib
import os
import select
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def hold_keys(descriptor: int) -> Iterator[None]:
    """Typed keys are not echoed and wait for the next reader, Enter as Enter. No effect without a terminal."""
    if sys.platform == "win32":
        yield
        return
    import termios

    try:
        before = termios.tcgetattr(descriptor)
    except termios.error:
        yield
        return
    during = [*before[:6], list(before[6])]
    during[0] &= ~termios.ICRNL
    during[3] &= ~(termios.ECHO | termios.ICANON)
    during[3] |= termios.NOFLSH  # Ctrl-C interrupts and throws nothing away that was typed before it
    during[6][termios.VMIN], during[6][termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSANOW, during)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal may be closed
            termios.tcsetattr(descriptor, termios.TCSANOW, before)


def pending_keys(descriptor: int) -> bytes:
    """The keys typed before `hold_keys` began, such as while the program was starting. Enter is Enter again."""
    if sys.platform == "win32" or not os.isatty(descriptor):
        return b""
    typed = b""
    while select.select([descriptor], [], [], 0)[0] and (more := os.read(descriptor, 4096)):
        typed += more
    return typed.replace(b"\n", b"\r")
