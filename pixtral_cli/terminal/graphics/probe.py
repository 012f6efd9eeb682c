"""Queries a terminal for the graphics it can draw. Keys typed meanwhile are returned."""

import os
import re
import select
import sys
import time
from dataclasses import dataclass

from pixtral_cli.terminal.graphics.draw import DEFAULT_CELL, Method
from pixtral_cli.terminal.output.keyboard import hold_keys

# A Kitty graphics command, which is answered by OK where it is supported; then Primary Device Attributes (DA1), which every
# terminal answers.
KITTY_QUERY = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
ATTRIBUTES_QUERY = b"\x1b[c"
NO_KITTY_QUERY = ("screen", "tmux", "linux")  # values of TERM for which the first query would be shown or set a title
ANSWER_TIMEOUT = 1.0  # seconds
_ATTRIBUTES = re.compile(rb"\x1b\[\?([\d;]*)c")
_KITTY = re.compile(rb"\x1b_Gi=31;([^\x1b]*)\x1b\\")


@dataclass(frozen=True, slots=True)
class TerminalGraphics:
    """The best method of a terminal, the size of a character in pixels, and the keys typed during the query."""

    method: Method
    cell: tuple[int, int]
    typed: bytes = b""


def parse_answer(answer: bytes) -> tuple[Method, bytes]:
    """The best method according to an answer, and the bytes that are not part of the answer."""
    kitty, attributes = _KITTY.search(answer), _ATTRIBUTES.search(answer)
    typed = _ATTRIBUTES.sub(b"", _KITTY.sub(b"", answer)).replace(
        b"\n", b"\r"
    )  # Enter, where the keys were typed earlier
    if kitty and kitty[1] == b"OK":
        return "kitty", typed
    return ("sixel" if attributes and b"4" in attributes[1].split(b";") else "blocks"), typed


def probe_terminal(keyboard: int, screen: int, term: str, timeout: float = ANSWER_TIMEOUT) -> TerminalGraphics:
    """Query the terminal with these file descriptors. One that does not answer within `timeout` seconds gets half-blocks."""
    if sys.platform == "win32":
        return TerminalGraphics("blocks", DEFAULT_CELL)
    with hold_keys(keyboard):
        os.write(screen, ATTRIBUTES_QUERY if term.startswith(NO_KITTY_QUERY) else KITTY_QUERY + ATTRIBUTES_QUERY)
        answer = _read_answer(keyboard, timeout)
    method, typed = parse_answer(answer)
    return TerminalGraphics(method, _cell_size(screen), typed)


def _read_answer(keyboard: int, timeout: float) -> bytes:
    answer, end = b"", time.monotonic() + timeout
    while not _ATTRIBUTES.search(answer):
        ready = select.select([keyboard], [], [], max(0.0, end - time.monotonic()))[0]
        data = os.read(keyboard, 4096) if ready else b""
        if not data:
            break
        answer += data
    return answer


def _cell_size(screen: int) -> tuple[int, int]:
    """Width and height of a character in pixels, as the terminal driver reports them, or DEFAULT_CELL."""
    import fcntl
    import struct
    import termios

    rows, columns, width, height = struct.unpack("HHHH", fcntl.ioctl(screen, termios.TIOCGWINSZ, bytes(8)))
    return (width // columns, height // rows) if width and height and columns and rows else DEFAULT_CELL
