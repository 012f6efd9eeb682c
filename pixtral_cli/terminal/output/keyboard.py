"""Terminal modes while no prompt reads the keyboard: keys are not echoed and not lost, and Ctrl-C interrupts."""

import contextlib
import os
import select
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def hold_keys(descriptor: int) -> Iterator[None]:
    """Within the context, typed keys are not echoed and stay in the input queue. No effect without a terminal."""
    if sys.platform == "win32":
        yield
        return
    import termios

    try:
        original = termios.tcgetattr(descriptor)
    except termios.error:
        yield
        return
    changed = [*original[:6], list(original[6])]
    changed[0] &= ~termios.ICRNL
    changed[3] &= ~(termios.ECHO | termios.ICANON)
    changed[3] |= termios.NOFLSH  # Ctrl-C does not discard what was typed before it
    changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSANOW, changed)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal may be closed
            termios.tcsetattr(descriptor, termios.TCSANOW, original)


def pending_keys(descriptor: int) -> bytes:
    """Read the keys that are in the input queue, such as those typed while the program started; Enter is \\r."""
    if sys.platform == "win32" or not os.isatty(descriptor):
        return b""
    typed = b""
    while select.select([descriptor], [], [], 0)[0] and (data := os.read(descriptor, 4096)):
        typed += data
    return typed.replace(b"\n", b"\r")
