"""How many bytes the caches beside a loaded model may take. Imports no torch."""

FEATURES_MAXIMUM = 1 << 30
FEATURES_DIVISOR = 16  # of the device's memory
# Idle KV caches take at most a quarter of the device's memory and at most the weights' size, if these are not tiny.
IDLE_KV_DIVISOR = 4
IDLE_KV_MINIMUM = 1 << 27


def feature_cache_limit(weights: int, memory: int) -> int:
    """Bytes of cached image features beside weights of this size on a device with so much memory."""
    return min(FEATURES_MAXIMUM, weights, memory // FEATURES_DIVISOR)


def idle_kv_limit(weights: int, memory: int) -> int:
    """Bytes of the KV caches of finished sequences beside weights of this size on a device with so much memory."""
    return min(memory // IDLE_KV_DIVISOR, max(weights, IDLE_KV_MINIMUM))
