"""Waits for files to change on disk."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pixtral_cli.errors import UsageError

INTERVAL = 0.25  # seconds between two looks; a file is taken when it has not changed for one of them


def watched_files(sources: Sequence[str]) -> list[Path]:
    """The files among image sources. Raises UsageError when there is none to watch."""
    paths = [Path(source).expanduser() for source in sources if source != "-" and "://" not in source[:10]]
    paths = [path for path in paths if not str(path).startswith("data:")]
    if not paths:
        raise UsageError("--watch watches picture files, and none is named", "Name one: --image sketch.png")
    return paths


def changes(paths: Sequence[Path], wait: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Yields whenever a file has changed and has stayed the same for a moment. A file that is missing is waited for."""
    seen = _stamps(paths)
    while True:
        wait(INTERVAL)
        now = _stamps(paths)
        if now == seen or None in now:
            continue
        wait(INTERVAL)
        if _stamps(paths) == now:
            seen = now
            yield


def _stamps(paths: Sequence[Path]) -> list[tuple[int, int, int] | None]:
    """Identifies a file's version: its inode, size and time of change; None for a missing file."""
    return [_stamp(path) for path in paths]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
