"""The known word that a mistyped one was meant to be."""

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one that begins as the word does (from four characters on), else the most similar; None where none is close."""
    from difflib import get_close_matches

    words = list(known)
    begun = [name for name in words if name.startswith(word) and len(word) > 3]
    swapped = [name for name in words if len(word) > 2 and sorted(name) == sorted(word)]
    return next(iter(begun or swapped or get_close_matches(word, words, 1, 0.75)), None)
