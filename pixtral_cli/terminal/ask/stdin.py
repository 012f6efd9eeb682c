"""Reads the text on stdin that belongs to a question, if stdin is a pipe or a file."""

import os
import stat
import threading
from collections.abc import Callable
from typing import TextIO

from pixtral_cli.errors import ContextError, UsageError

MAX_SIZE = 4 * 2**20  # bytes: more than any context window holds
NOTE_AFTER = 1.0  # seconds
WAITING_NOTE = "Waiting for text on stdin; --no-stdin skips it"

_BINARY_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"%PDF")


def read_text(stdin: TextIO | None, note: Callable[[str], None], note_after: float = NOTE_AFTER) -> str:
    """The text on stdin; "" for a terminal, a device and empty input. Calls `note` after waiting for `note_after` seconds.

    Raises UsageError for bytes that are not text, ContextError over MAX_SIZE.
    """
    if stdin is None or not _is_pipe_or_file(stdin):
        return ""
    timer = threading.Timer(note_after, note, (WAITING_NOTE,))
    timer.daemon = True
    timer.start()
    try:
        first = stdin.buffer.read(1)
    finally:
        timer.cancel()
        timer.join()
    data = first + stdin.buffer.read(MAX_SIZE)
    if len(data) > MAX_SIZE:
        raise ContextError(f"stdin holds more than {MAX_SIZE // 2**20} MiB of text", "Send the part that matters")
    return _decoded(data, note).strip("\r\n") if data.strip() else ""


def _is_pipe_or_file(stdin: TextIO) -> bool:
    try:
        mode = os.fstat(stdin.fileno()).st_mode
    except (OSError, ValueError):  # closed, or not a descriptor at all
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _decoded(data: bytes, note: Callable[[str], None]) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16, from the pipes of some shells
        return data.decode("utf-16", errors="replace")
    if (data.startswith(_BINARY_SIGNATURES) and not data[:64].isascii()) or b"\0" in data[:4096]:
        raise UsageError(
            "stdin holds bytes that are not text", "Send an image with --image -, skip stdin with --no-stdin"
        )
    text = data.decode("utf-8-sig", errors="replace")
    if wrong := text.count("\ufffd") - data.count("\ufffd".encode()):
        note(f"stdin is not all UTF-8: {wrong} {'byte was' if wrong == 1 else 'bytes were'} replaced")
    return text
