"""Prefix cache: keeps KV caches of finished sequences and finds the one with a prompt's longest common prefix."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from pixtral_cli.chat.engine import CacheUse
from pixtral_cli.engines.local.model.kv_cache import KVCache
from pixtral_cli.engines.local.runtime.oom import translate_oom
from pixtral_cli.engines.local.tokens.encode import Prompt, PromptImage
from pixtral_cli.errors import OutOfMemory


class CachedSequence:
    """The tokens and images of a sequence, and a KV cache of the first `cache.length` tokens."""

    def __init__(self, cache: KVCache) -> None:
        self.cache = cache
        self.tokens: list[int] = []
        self.images: tuple[PromptImage, ...] = ()
        self.shareable = 0  # positions that do not change while the sequence is in use
        self.last_use = 0  # number of the use, not a time

    def match_length(self, prompt: Prompt) -> int:
        """The length of the common prefix with the prompt, which ends neither inside an image nor after the last token.

        The last token is always computed: its logits choose the first token of the answer.
        """
        return self._match_length(prompt, self.cache.length)

    def shareable_length(self, prompt: Prompt) -> int:
        """`match_length` within the positions that may be copied while the sequence is in use."""
        return self._match_length(prompt, self.shareable)

    def _match_length(self, prompt: Prompt, available: int) -> int:
        limit = min(available, len(prompt.tokens) - 1)
        length = _common_prefix_length(self.tokens, prompt.tokens, limit)
        cached_images = {image.start: image.key for image in self.images}
        for image in prompt.images:
            if image.start < length and cached_images.get(image.start) != image.key:
                length = image.start
        inside = [image.start for image in prompt.images if image.start < length < image.stop]
        return min(length, *inside) if inside else length

    def rewind(self, prompt: Prompt, length: int) -> None:
        """Keep the first `length` positions and replace the tokens and images by those of the prompt."""
        self.cache.length = self.shareable = length
        self.tokens = list(prompt.tokens)
        self.images = prompt.images

    def truncate(self, count: int) -> None:
        """Remove the last `count` tokens."""
        self.cache.length -= count
        del self.tokens[len(self.tokens) - count :]


def _common_prefix_length(ours: list[int], theirs: list[int], limit: int) -> int:
    """The length of the common prefix, at most `limit`, compared block by block."""
    block = 1024
    for start in range(0, limit, block):
        stop = min(start + block, limit)
        if ours[start:stop] != theirs[start:stop]:
            return next(i for i in range(start, stop) if ours[i] != theirs[i])
    return limit


class PrefixCache:
    """The most recently used idle sequences, at most `max_bytes` of KV cache; the last one is kept whatever its size.

    Sequences in use do not count towards the limit.
    """

    def __init__(self, new_cache: Callable[[], KVCache], max_bytes: int) -> None:
        self._new_cache, self._max_bytes = new_cache, max_bytes
        self._idle: list[CachedSequence] = []
        self._in_use: list[CachedSequence] = []
        self._uses = count(1)
        # Re-entrant: the garbage collector may end an abandoned answer, which returns its sequence, inside the lock.
        self._lock = threading.RLock()

    @contextmanager
    def acquire(self, prompt: Prompt) -> Iterator[tuple[CachedSequence, int]]:
        """The idle sequence with the longest match, rewound to the match, and the length of the match.

        If less than half of its cache matches, the match is copied to a new sequence and the old one stays idle. If a
        sequence in use has a longer match than any idle one, its match is copied.
        """
        sequence, length = self._take_best(prompt)
        try:
            if 2 * length < sequence.cache.length:
                sequence = self._fork(sequence, length)
            sequence.last_use = next(self._uses)
            sequence.rewind(prompt, length)
            self._in_use.append(sequence)
            yield sequence, length
        finally:
            with self._lock:
                self._in_use[:] = [other for other in self._in_use if other is not sequence]
                self._put(sequence)

    @property
    def use(self) -> CacheUse:
        """The bytes of the idle sequences and their limit."""
        with self._lock:
            return CacheUse(sum(idle.cache.size for idle in self._idle), self._max_bytes)

    def drop_one(self) -> bool:
        """Drop the least recently used idle sequence; False if there is none."""
        with self._lock:
            if not self._idle:
                return False
            self._drop_oldest()
            return True

    def _take_best(self, prompt: Prompt) -> tuple[CachedSequence, int]:
        """The sequence with the longest match, removed from the idle ones, or a new one; and the length of the match."""
        with self._lock:
            matches = [(idle.match_length(prompt), idle) for idle in list(self._idle)]
            length, best = max(matches, key=lambda match: match[0], default=(0, None))
            if (shared := self._copy_in_use(prompt, length)) is not None:
                return shared, shared.cache.length
            if best is None:
                return CachedSequence(self._new_cache()), 0
            self._drop(best)
            return best, length

    def _copy_in_use(self, prompt: Prompt, longer_than: int) -> CachedSequence | None:
        """A copy of the longest match of the sequences in use; None if it is not `longer_than`, or memory is short.

        The lock is held while it is copied, so no sequence can be returned and rewound.
        """
        matches = [(busy.shareable_length(prompt), busy) for busy in list(self._in_use)]
        length, best = max(matches, key=lambda match: match[0], default=(0, None))
        if best is None or length <= longer_than:
            return None
        return self._copy(best, length, "answering two at a time")

    def _fork(self, sequence: CachedSequence, length: int) -> CachedSequence:
        """A new sequence with a copy of the first `length` positions; `sequence` itself where memory is short."""
        fork = self._copy(sequence, length, "keeping two conversations")
        if fork is None:
            return sequence
        self._put(sequence)
        return fork

    def _copy(self, sequence: CachedSequence, length: int, doing: str) -> CachedSequence | None:
        """A new sequence with a copy of the first `length` positions; None where memory is short."""
        copied = CachedSequence(self._new_cache())
        try:
            with translate_oom(doing):
                copied.cache.copy(sequence.cache, length)
        except OutOfMemory:
            return None
        return copied

    def _put(self, sequence: CachedSequence) -> None:
        """Add an idle sequence and drop the oldest ones beyond the limit."""
        with self._lock:
            if sequence.cache.length and sequence not in self._idle:
                self._idle.append(sequence)
            while len(self._idle) > 1 and sum(idle.cache.size for idle in list(self._idle)) > self._max_bytes:
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._drop(min(list(self._idle), key=lambda sequence: sequence.last_use))

    def _drop(self, sequence: CachedSequence) -> None:
        self._idle[:] = [idle for idle in self._idle if idle is not sequence]
