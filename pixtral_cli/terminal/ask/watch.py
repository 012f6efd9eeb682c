"""Waits for files to change on disk. Knows nothing of what they hold or of what is done about it."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pixtral_cli.errors import UsageError

INTERVAL = 0.25  # seconds between two looks; a file is taken when it has not changed for one of them


def watched_files(sources: Sequence[str]) -> list[Path]:
    """The files among image sources. Raises UsageError when there is none to watch."""
    found = [Path(source).expanduser() for source in sources if source != "-" and "://" not in source[:10]]
    found = [path for path in found if not str(path).startswith("data:")]
    if not found:
        raise UsageError("--watch watches picture files, and none is named", "Name one: --image sketch.png")
    return found


def changes(paths: Sequence[Path], wait: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Yields whenever a file has changed and come to rest. A file that is gone for a while is waited for."""
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
    """What tells a changed file: its inode, size and time of change; None for one that is not there."""
    return [_stamp(path) for path in paths]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
