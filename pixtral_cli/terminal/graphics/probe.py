"""Asks a terminal which graphics it can draw. What was typed meanwhile is handed back, nothing is swallowed."""

import os
import re
import select
import sys
import time
from dataclasses import dataclass

from pixtral_cli.terminal.graphics.draw import DEFAULT_CELL, Method
from pixtral_cli.terminal.output.keyboard import hold_keys

# A tiny Kitty graphics command, which answers OK where it is understood; then what every terminal answers: what it is.
KITTY_QUERY = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
ATTRIBUTES_QUERY = b"\x1b[c"
NO_KITTY_QUERY = ("screen", "tmux", "linux")  # these would show the first question, or take it for a title
ANSWER_TIMEOUT = 1.0
_ATTRIBUTES = re.compile(rb"\x1b\[\?([\d;]*)c")
_KITTY = re.compile(rb"\x1b_Gi=31;([^\x1b]*)\x1b\\")


@dataclass(frozen=True, slots=True)
class TerminalGraphics:
    """The terminal's graphics: its best method, a character's size in pixels; `typed` was read while it was asked."""

    method: Method
    cell: tuple[int, int]
    typed: bytes = b""


def parse_answer(answer: bytes) -> tuple[Method, bytes]:
    """The best method that an answer admits, and the bytes that are no part of the answer."""
    kitty, attributes = _KITTY.search(answer), _ATTRIBUTES.search(answer)
    typed = _ATTRIBUTES.sub(b"", _KITTY.sub(b"", answer))
    if kitty and kitty[1] == b"OK":
        return "kitty", typed
    return ("sixel" if attributes and b"4" in attributes[1].split(b";") else "blocks"), typed


def probe_terminal(keyboard: int, screen: int, term: str, patience: float = ANSWER_TIMEOUT) -> TerminalGraphics:
    """Ask the terminal behind these two descriptors; one that doesn't answer in time can draw half-blocks."""
    if sys.platform == "win32":
        return TerminalGraphics("blocks", DEFAULT_CELL)
    with hold_keys(keyboard):
        os.write(screen, ATTRIBUTES_QUERY if term.startswith(NO_KITTY_QUERY) else KITTY_QUERY + ATTRIBUTES_QUERY)
        answer = _read(keyboard, patience)
    method, typed = parse_answer(answer)
    return TerminalGraphics(method, _cell(screen), typed)


def _read(keyboard: int, patience: float) -> bytes:
    answer, end = b"", time.monotonic() + patience
    while not _ATTRIBUTES.search(answer):
        ready = select.select([keyboard], [], [], max(0.0, end - time.monotonic()))[0]
        more = os.read(keyboard, 4096) if ready else b""
        if not more:
            break
        answer += more
    return answer


def _cell(screen: int) -> tuple[int, int]:
    """A character's width and height in pixels, as the terminal driver reports it, or a common size."""
    import fcntl
    import struct
    import termios

    rows, columns, width, height = struct.unpack("HHHH", fcntl.ioctl(screen, termios.TIOCGWINSZ, bytes(8)))
    return (width // columns, height // rows) if width and height and columns and rows else DEFAULT_CELL
