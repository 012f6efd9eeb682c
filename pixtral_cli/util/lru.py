"""A thread-safe least-recently-used cache with a limit on the total size of its values."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """A cache. The caller gives the size of each value; their sum is at most `limit`, in the same unit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """The value of a key, None if it is not in the cache."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: K, value: V, size: int) -> None:
        """Add a value and evict the least recently used ones. A value larger than the limit is not added."""
        if size > self.limit:
            return
        with self._lock:
            self.size += size - self._entries.pop(key, (None, 0))[1]
            self._entries[key] = (value, size)
            while self.size > self.limit:
                self.size -= self._entries.popitem(last=False)[1][1]

    def clear(self) -> bool:
        """Remove everything; returns False if the cache was empty."""
        with self._lock:
            had_entries = bool(self._entries)
            self._entries.clear()
            self.size = 0
            return had_entries
