"""A thread-safe memory of bounded total size that forgets what was used least recently."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """Keys to values, each of a size the caller gives; together at most `limit`. A larger value is not kept at all."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: K, value: V, size: int) -> None:
        if size > self.limit:
            return
        with self._lock:
            self.size += size - self._entries.pop(key, (None, 0))[1]
            self._entries[key] = (value, size)
            while self.size > self.limit:
                self.size -= self._entries.popitem(last=False)[1][1]

    def clear(self) -> bool:
        """Forget everything; False if there was nothing."""
        with self._lock:
            had = bool(self._entries)
            self._entries.clear()
            self.size = 0
            return had
