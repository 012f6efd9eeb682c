"""The sequences whose KV caches are kept, and the longest prefix of a prompt that one of them holds already."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from pixtral_cli.engines.local.model.kv_cache import KVCache
from pixtral_cli.engines.local.runtime.oom import translated
from pixtral_cli.engines.local.tokens.encode import Placed, Prompt
from pixtral_cli.errors import OutOfMemory


class Sequence:
    """Tokens and images with their KV cache; of the tokens, the first `cache.length` are computed."""

    def __init__(self, cache: KVCache) -> None:
        self.cache = cache
        self.tokens: list[int] = []
        self.images: tuple[Placed, ...] = ()
        self.used = 0  # the larger, the later

    def match(self, prompt: Prompt) -> int:
        """How many tokens of the prompt are computed here: the common prefix, never ending inside an image.

        At least the prompt's last token is left to compute, for its logits start the answer.
        """
        limit = min(self.cache.length, len(prompt.tokens) - 1)
        length = _common(self.tokens, prompt.tokens, limit)
        held = {image.start: image.key for image in self.images}
        for image in prompt.images:
            if image.start < length and held.get(image.start) != image.key:
                length = image.start
        inside = [image.start for image in prompt.images if image.start < length < image.stop]
        return min(length, *inside) if inside else length

    def rewind(self, prompt: Prompt, length: int) -> None:
        """Keep the first `length` positions; the tokens become the prompt's."""
        self.cache.length = length
        self.tokens = list(prompt.tokens)
        self.images = prompt.images

    def cut(self, count: int) -> None:
        """Forget the last `count` tokens."""
        self.cache.length -= count
        del self.tokens[len(self.tokens) - count :]


def _common(ours: list[int], theirs: list[int], limit: int) -> int:
    """The length of the common prefix, at most `limit`: compared in blocks, which are fast when equal."""
    block = 1024
    for start in range(0, limit, block):
        stop = min(start + block, limit)
        if ours[start:stop] != theirs[start:stop]:
            return next(i for i in range(start, stop) if ours[i] != theirs[i])
    return limit


class Sequences:
    """The idle sequences used last, whose caches take at most `keep` bytes together; the very last is kept at any size.

    A sequence that is lent belongs to its borrower alone, and does not count.
    """

    def __init__(self, new_cache: Callable[[], KVCache], keep: int) -> None:
        self._new_cache, self._keep = new_cache, keep
        self._idle: list[Sequence] = []
        self._uses = count(1)
        self._lock = threading.RLock()  # a forgotten answer may be collected, and give its own back, inside

    @contextmanager
    def lend(self, prompt: Prompt) -> Iterator[tuple[Sequence, int]]:
        """The sequence that holds most of the prompt, rewound to the match, and the length of the match.

        If much of it would be lost, it is left to its own conversation and a copy of the match is lent.
        """
        sequence, length = self._take_best(prompt)
        try:
            if 2 * length < sequence.cache.length:
                sequence = self._fork(sequence, length)
            sequence.used = next(self._uses)
            sequence.rewind(prompt, length)
            yield sequence, length
        finally:
            self._put(sequence)

    def drop_one(self) -> bool:
        """Free the least recently used idle sequence; False if there is none."""
        with self._lock:
            if not self._idle:
                return False
            self._forget_oldest()
            return True

    def _take_best(self, prompt: Prompt) -> tuple[Sequence, int]:
        with self._lock:
            matches = [(idle.match(prompt), idle) for idle in list(self._idle)]
            length, best = max(matches, key=lambda match: match[0], default=(0, None))
            if best is None:
                return Sequence(self._new_cache()), 0
            self._forget(best)
            return best, length

    def _fork(self, sequence: Sequence, length: int) -> Sequence:
        """A new sequence with the same first positions; the same one when memory is too short for two."""
        fork = Sequence(self._new_cache())
        try:
            with translated("keeping two conversations"):
                fork.cache.copy(sequence.cache, length)
        except OutOfMemory:
            return sequence
        self._put(sequence)
        return fork

    def _put(self, sequence: Sequence) -> None:
        with self._lock:
            if sequence.cache.length and sequence not in self._idle:
                self._idle.append(sequence)
            while len(self._idle) > 1 and sum(idle.cache.size for idle in list(self._idle)) > self._keep:
                self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._forget(min(list(self._idle), key=lambda sequence: sequence.used))

    def _forget(self, sequence: Sequence) -> None:
        self._idle[:] = [idle for idle in self._idle if idle is not sequence]
