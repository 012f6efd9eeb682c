"""Waits for files to change on disk."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pixtral_cli.errors import UsageError

INTERVAL = 0.25  # seconds between two checks; a changed file must stay the same for one interval


def watched_files(sources: Sequence[str]) -> list[Path]:
    """The files among image sources. Raises UsageError when there is none to watch."""
    paths = [Path(source).expanduser() for source in sources if source != "-" and "://" not in source[:10]]
    paths = [path for path in paths if not str(path).startswith("data:")]
    if not paths:
        raise UsageError("--watch watches picture files, and none is named", "Name one: --image sketch.png")
    return paths


def changes(paths: Sequence[Path], wait: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Yield whenever a file has changed and then stayed the same for INTERVAL. A missing file is waited for."""
    last = _stamps(paths)
    while True:
        wait(INTERVAL)
        current = _stamps(paths)
        if current == last or None in current:
            continue
        wait(INTERVAL)
        if _stamps(paths) == current:
            last = current
            yield


def _stamps(paths: Sequence[Path]) -> list[tuple[int, int, int] | None]:
    """The version of each file: inode, size and modification time (ns); None for a missing file."""
    return [_stamp(path) for path in paths]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
