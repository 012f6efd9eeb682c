"""Reads text that is piped in beside a question, if there is any."""

import os
import stat
import threading
from collections.abc import Callable
from typing import TextIO

from pixtral_cli.errors import ContextError, UsageError

LIMIT = 4 * 2**20  # bytes: more than any context window holds
NOTE_AFTER = 1.0
WAITING_NOTE = "Waiting for text on stdin; --no-stdin skips it"

_BINARY_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*", b"%PDF")


def read_text(stdin: TextIO | None, note: Callable[[str], None], patience: float = NOTE_AFTER) -> str:
    """The text of a pipe or a file on stdin; "" for a terminal, a device or an empty one. Prints a note when it waits.

    Raises UsageError for bytes that are no text, ContextError for more than any context window holds.
    """
    if stdin is None or not _is_pipe_or_file(stdin):
        return ""
    waiting = threading.Timer(patience, note, (WAITING_NOTE,))
    waiting.daemon = True
    waiting.start()
    try:
        first = stdin.buffer.read(1)
    finally:
        waiting.cancel()
        waiting.join()
    data = first + stdin.buffer.read(LIMIT)
    if len(data) > LIMIT:
        raise ContextError(f"stdin holds more than {LIMIT // 2**20} MiB of text", "Send the part that matters")
    return _decoded(data, note).strip("\r\n") if data.strip() else ""


def _is_pipe_or_file(stdin: TextIO) -> bool:
    try:
        mode = os.fstat(stdin.fileno()).st_mode
    except (OSError, ValueError):  # closed, or not a descriptor at all
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _decoded(data: bytes, note: Callable[[str], None]) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):  # what some shells' pipes write
        return data.decode("utf-16", errors="replace")
    if (data.startswith(_BINARY_SIGNATURES) and not data[:64].isascii()) or b"\0" in data[:4096]:
        raise UsageError(
            "stdin holds bytes that are not text", "Send an image with --image -, skip stdin with --no-stdin"
        )
    text = data.decode("utf-8-sig", errors="replace")
    if wrong := text.count("\ufffd") - data.count("\ufffd".encode()):
        note(f"stdin is not all UTF-8: {wrong} {'byte was' if wrong == 1 else 'bytes were'} replaced")
    return text
