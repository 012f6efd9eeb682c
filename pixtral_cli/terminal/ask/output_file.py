"""A file that an answer is written to: checked before the work, written whole or not at all. Knows nothing of answers."""

import contextlib
import os
from pathlib import Path

from pixtral_cli.errors import PixtralError, UsageError


def check(path: Path) -> None:
    """Raises UsageError when nothing can be written there, so that no answer is computed in vain."""
    if path.is_dir():
        raise UsageError(f"{path} is a directory", "Name a file: -o FILE")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a directory", f"Make it: mkdir -p {path.parent}")
    place = path if path.exists() and not path.is_file() else path.resolve().parent
    if not os.access(place, os.W_OK):
        raise UsageError(f"{place} cannot be written to", "Choose another place, or change its permissions")


def write(path: Path, text: str) -> None:
    """Put `text` there, replacing what the file held; a device or a pipe is written to. Raises PixtralError."""
    data = text.encode("utf-8", errors="replace")
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
        else:
            _replace(path.resolve(), data)
    except OSError as error:
        raise PixtralError(f"{path} cannot be written: {error.strerror or error}") from error


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name[:200]}.{os.getpid()}.part")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:  # noqa: PTH123
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            beside.chmod(path.stat().st_mode)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
