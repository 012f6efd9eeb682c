"""Finds the known word that is most similar to a mistyped one."""

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The first known word that begins with `word` (of four characters or more), else the most similar; None if none is close."""
    from difflib import get_close_matches

    words = list(known)
    begun = [name for name in words if name.startswith(word) and len(word) > 3]
    swapped = [name for name in words if len(word) > 2 and sorted(name) == sorted(word)]
    return next(iter(begun or swapped or get_close_matches(word, words, 1, 0.75)), None)
