"""The limits of the caches of image features and of idle KV caches, in bytes. Imports no torch."""

FEATURES_MAXIMUM = 1 << 30  # bytes
FEATURES_DIVISOR = 16  # of the device's memory
# Idle KV caches take at most a quarter of the device's memory, and at most the size of the weights or IDLE_KV_MINIMUM.
IDLE_KV_DIVISOR = 4
IDLE_KV_MINIMUM = 1 << 27


def feature_cache_limit(weights: int, memory: int) -> int:
    """The limit of cached image features, for weights of `weights` bytes on a device with `memory` bytes."""
    return min(FEATURES_MAXIMUM, weights, memory // FEATURES_DIVISOR)


def idle_kv_limit(weights: int, memory: int) -> int:
    """The limit of the KV caches of finished sequences, for weights of `weights` bytes on a device with `memory` bytes."""
    return min(memory // IDLE_KV_DIVISOR, max(weights, IDLE_KV_MINIMUM))
