"""The cache: what was used last stays, the sum of the sizes is bounded, a value beyond the limit is not kept."""

from pixtral_cli.util.lru import LruCache


def test_what_was_used_longest_ago_goes_first_and_only_as_much_as_must() -> None:
    cache: LruCache[str, int] = LruCache(10)
    for number, key in enumerate("abc"):
        cache.put(key, number, 3)
    assert cache.get("a") == 0
    cache.put("d", 3, 4)  # 13 in all: b, used longest ago, is enough
    assert [cache.get(key) for key in "abcd"] == [0, None, 2, 3]
    assert cache.size == 10


def test_a_value_as_large_as_the_cache_is_kept_alone_and_a_larger_one_evicts_nothing() -> None:
    cache: LruCache[str, str] = LruCache(10)
    cache.put("small", "one", 1)
    cache.put("large", "two", 11)
    assert (cache.get("small"), cache.get("large"), cache.size) == ("one", None, 1)
    cache.put("whole", "three", 10)
    assert (cache.get("small"), cache.get("whole"), cache.size) == (None, "three", 10)


def test_a_value_put_again_counts_once() -> None:
    cache: LruCache[str, str] = LruCache(10)
    for size in (4, 6, 10, 2):
        cache.put("a", str(size), size)
        assert (cache.get("a"), cache.size) == (str(size), size)


def test_clearing_tells_whether_there_was_anything() -> None:
    cache: LruCache[str, str] = LruCache(10)
    assert not cache.clear()
    cache.put("a", "b", 0)
    cache.put("c", "d", 7)
    assert cache.clear()
    assert (cache.get("a"), cache.get("c"), cache.size) == (None, None, 0)
    cache.put("e", "f", 10)
    assert cache.get("e") == "f"
