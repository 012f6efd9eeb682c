"""Files by a part of their path, anywhere below a folder: what `@bars` may mean. Bounded in entries, depth and time."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

MAX_FOUND = 20
MAX_ENTRIES = 5_000  # entries of folders that are looked at
MAX_DEPTH = 6  # folders below the first
MAX_SECONDS = 0.5
MIN_LENGTH = 2  # characters of what is searched for
SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages", "venv"})  # beside hidden folders


def search(root: Path, words: str) -> list[str]:
    """Paths below `root` of files that are called so, the best first: by how their names begin, then hold the letters in order."""
    needle = words.lower()
    if len(needle) < MIN_LENGTH or needle.startswith("."):
        return []
    ranked = [(rank, len(path), path) for path in _files(root) if (rank := _rank(path.lower(), needle)) is not None]
    return [path for _, _, path in sorted(ranked)[:MAX_FOUND]]


def _rank(path: str, needle: str) -> int | None:
    """How well a path fits, 0 the best; None where its letters do not contain those of the words in their order."""
    name = path.rpartition("/")[2]
    fits = (name.startswith(needle), needle in name, needle in path, _holds(name, needle), _holds(path, needle))
    return next((rank for rank, fit in enumerate(fits) if fit), None)


def _holds(text: str, letters: str) -> bool:
    rest = iter(text)
    return all(letter in rest for letter in letters)


def _files(root: Path) -> Iterator[str]:
    """The files below a folder, those nearest to it first."""
    level, seen, end = [""], 0, time.monotonic() + MAX_SECONDS
    for _ in range(MAX_DEPTH + 1):
        below: list[str] = []
        for folder in level:
            try:
                entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
            except (OSError, ValueError):
                continue
            for entry in entries:
                seen += 1
                if seen > MAX_ENTRIES or time.monotonic() > end:
                    return
                if entry.name[0] == "." or entry.name in SKIPPED:
                    continue
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    below.append(path)
                elif entry.is_file():
                    yield path
        level = below
