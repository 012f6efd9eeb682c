"""Finds files below a folder by a part of their path, within limits of entries, depth and time."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

MAX_RESULTS = 20
MAX_ENTRIES = 5_000  # directory entries that are read
MAX_DEPTH = 6  # levels of subfolders
MAX_SECONDS = 0.5
MIN_LENGTH = 2  # characters of a search
SKIPPED = frozenset({"node_modules", "__pycache__", "site-packages", "venv"})  # and hidden folders


def search(root: Path, words: str) -> list[str]:
    """The paths below `root` that match `words`, the best first: see `_rank`."""
    needle = words.lower()
    if len(needle) < MIN_LENGTH or needle.startswith("."):
        return []
    ranked = [(rank, len(path), path) for path in _files(root) if (rank := _rank(path.lower(), needle)) is not None]
    return [path for _, _, path in sorted(ranked)[:MAX_RESULTS]]


def _rank(path: str, needle: str) -> int | None:
    """The rank of a path, 0 the best: the name begins with the needle, the name or path contains it, or its letters in order.

    None if nothing of this is the case.
    """
    name = path.rpartition("/")[2]
    tests = (
        name.startswith(needle),
        needle in name,
        needle in path,
        _contains_in_order(name, needle),
        _contains_in_order(path, needle),
    )
    return next((rank for rank, matches in enumerate(tests) if matches), None)


def _contains_in_order(text: str, letters: str) -> bool:
    rest = iter(text)
    return all(letter in rest for letter in letters)


def _files(root: Path) -> Iterator[str]:
    """The files below a folder, level by level."""
    level, visited, end = [""], 0, time.monotonic() + MAX_SECONDS
    for _ in range(MAX_DEPTH + 1):
        subfolders: list[str] = []
        for folder in level:
            try:
                entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
            except (OSError, ValueError):
                continue
            for entry in entries:
                visited += 1
                if visited > MAX_ENTRIES or time.monotonic() > end:
                    return
                if entry.name[0] == "." or entry.name in SKIPPED:
                    continue
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    subfolders.append(path)
                elif entry.is_file():
                    yield path
        level = subfolders
