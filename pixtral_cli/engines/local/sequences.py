"""The sequences whose KV caches are kept, and the longest prefix of a prompt that one of them holds already."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pixtral_cli.engines.local.cache import KVCache
from pixtral_cli.engines.local.encode import Placed, Prompt

KEPT = 4


class Sequence:
    """Tokens and images with their KV cache; of the tokens, the first `cache.length` are computed."""

    def __init__(self, cache: KVCache) -> None:
        self.cache = cache
        self.tokens: list[int] = []
        self.images: tuple[Placed, ...] = ()

    def match(self, prompt: Prompt) -> int:
        """How many tokens of the prompt are computed here: the common prefix, never ending inside an image.

        At least the prompt's last token is left to compute, for its logits start the answer.
        """
        limit = min(self.cache.length, len(prompt.tokens) - 1)
        length = _common(self.tokens, prompt.tokens, limit)
        for ours, theirs in zip(self.images, prompt.images, strict=False):
            if theirs.start < length and (ours.start, ours.key) != (theirs.start, theirs.key):
                length = theirs.start
        inside = [image.start for image in prompt.images if image.start < length < image.stop]
        return min(length, *inside) if inside else length

    def rewind(self, prompt: Prompt, length: int) -> None:
        """Keep the first `length` positions; the tokens become the prompt's."""
        self.cache.length = length
        self.tokens = list(prompt.tokens)
        self.images = prompt.images


def _common(ours: list[int], theirs: list[int], limit: int) -> int:
    """The length of the common prefix, at most `limit`: compared in blocks, which are fast when equal."""
    block = 1024
    for start in range(0, limit, block):
        stop = min(start + block, limit)
        if ours[start:stop] != theirs[start:stop]:
            return next(i for i in range(start, stop) if ours[i] != theirs[i])
    return limit


class Sequences:
    """At most `KEPT` idle sequences. One that is lent belongs to its borrower alone."""

    def __init__(self, new_cache: Callable[[], KVCache]) -> None:
        self._new_cache = new_cache
        self._idle: list[Sequence] = []  # least recently used first
        self._lock = threading.Lock()

    @contextmanager
    def lend(self, prompt: Prompt) -> Iterator[tuple[Sequence, int]]:
        """The sequence that holds most of the prompt, rewound to the match, and the length of the match."""
        with self._lock:
            sequence, length = self._choose(prompt)
        try:
            sequence.rewind(prompt, length)
            yield sequence, length
        finally:
            with self._lock:
                self._idle.append(sequence)
                del self._idle[:-KEPT]

    def _choose(self, prompt: Prompt) -> tuple[Sequence, int]:
        """Continue a sequence if little of it would be lost; otherwise leave it for its own conversation."""
        matches = [(idle.match(prompt), idle) for idle in self._idle]
        length, best = max(matches, key=lambda match: match[0], default=(0, None))
        if best is None or 2 * length < best.cache.length:
            return Sequence(self._new_cache()), 0
        self._idle.remove(best)
        return best, length

    def drop_one(self) -> bool:
        """Free the least recently used idle sequence; False if there is none."""
        with self._lock:
            if self._idle:
                del self._idle[0]
                return True
            return False
