"""The file that an answer is written to: checked before the question is asked, replaced atomically."""

import os
from pathlib import Path

from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.util import atomic


def check_writable(path: Path) -> None:
    """Raises UsageError when the file cannot be written, before an answer is computed."""
    try:
        Path.cwd()
    except FileNotFoundError:
        if not path.is_absolute():
            raise UsageError(f"{path} cannot be written: the current folder was removed", "Go to another one") from None
    if path.is_dir():
        raise UsageError(f"{path} is a directory", "Name a file: -o FILE")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a directory", f"Make it: mkdir -p {path.parent}")
    place = path if path.exists() and not path.is_file() else path.resolve().parent
    if not os.access(place, os.W_OK):
        raise UsageError(f"{place} cannot be written to", "Choose another place, or change its permissions")


def write(path: Path, text: str) -> None:
    """Write `text` to a file, replacing its content, or to a device or pipe. Raises PixtralError."""
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(text.encode("utf-8", errors="replace"))
        else:
            atomic.write(path, text)
    except OSError as error:
        raise PixtralError(
            f"{path} cannot be written: {error.strerror or error}", "Choose another place: -o FILE"
        ) from error
