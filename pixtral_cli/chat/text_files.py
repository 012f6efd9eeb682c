"""Reads text files that are sent with a question, each as a fenced block with its name."""

import re
from pathlib import Path

from pixtral_cli.errors import ContextError, UsageError
from pixtral_cli.images.formats import has_picture_extension

MAX_SIZE = 4 * 2**20  # bytes of a file: more than any context window holds


def fenced_file(name: str) -> str:
    """The file's text in a fence that is longer than any in it.

    Raises UsageError for a picture, a file that cannot be read and one that is not text, ContextError over MAX_SIZE.
    """
    path = Path(name).expanduser()
    if has_picture_extension(name):
        raise UsageError(f"{name} is a picture", f"Attach it: --image {name}")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}", "Check the path") from error
    if len(data) > MAX_SIZE:
        raise ContextError(f"{name} holds more than {MAX_SIZE // 2**20} MiB of text", "Send the part that matters")
    if b"\0" in data[:4096]:
        raise UsageError(f"{name} holds bytes that are not text", "Attach a picture by --image")
    text = data.decode("utf-8-sig", errors="replace").strip("\r\n")
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`{3,}", text) or [""]))
    return f"{fence}{path.name}\n{text}\n{fence}"
