"""A decoder step for a few positions in one call of our CPU kernel: all layers, without returning to Python between."""

import ctypes
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from pixtral_cli.engines.local.config import Params
from pixtral_cli.engines.local.kernels import cpu
from pixtral_cli.engines.local.model.kv_cache import KVCache
from pixtral_cli.engines.local.model.loaded import Weights

SIZES = ("count", "dim", "hidden", "heads", "groups", "head", "size")
MATRICES = ("query", "key", "value", "out", "gate", "up", "down")

address, number = ctypes.c_void_p, ctypes.c_long


class _Layer(ctypes.Structure):
    _fields_ = [("attention_norm", address), ("feed_norm", address), *((name, cpu.Matrix) for name in MATRICES)]


class _Model(ctypes.Structure):
    _fields_ = [("layers", ctypes.POINTER(_Layer)), *((name, number) for name in SIZES), ("epsilon", ctypes.c_float)]


class _LayerCache(ctypes.Structure):
    _fields_ = [("store", address), ("capacity", number)]


class _Span(ctypes.Structure):
    _fields_ = [("layers", ctypes.POINTER(_LayerCache)), ("past", number), ("count", number)]


def supports_fused_step(weights: Weights, params: Params) -> bool:
    """Whether the kernel computes decoder steps of these weights on their device, in their dtype."""
    key = weights.device, weights.dtype
    linears = [module for block in weights.model.layers.values() for module in _linears(block)]
    quantized = [module for module in linears if isinstance(module, cpu.HasMatrix)]
    plain = all(isinstance(module, cpu.HasMatrix) or module.weight.dtype == weights.dtype for module in linears)
    return cpu.supports_attention(*key, params.head_dim) and plain and (not quantized or cpu.supports_packed(*key))


class FusedStep:
    """The decoder layers of a model for which `supports_fused_step`, for up to `cpu.FEW` positions."""

    def __init__(self, weights: Weights, params: Params, threads: int) -> None:
        self._weights = weights.model  # kept alive: the kernel holds addresses into it
        layers = [_layer(block) for block in weights.model.layers.values()]
        self._model = _Model(
            (_Layer * len(layers))(*layers), len(layers), params.dim, params.hidden_dim, params.n_heads, params.n_kv_heads,
            params.head_dim, weights.dtype.itemsize, params.norm_eps,
        )  # fmt: skip
        self._threads = threads

    def __call__(self, states: Tensor, spans: Iterable[tuple[KVCache, int]], rotations: Tensor) -> Tensor:
        """Embedded positions (T, dim) after all layers. Each span's follow those in its cache, which has room for them.

        `rotations` are complex, (T, head_dim / 2). Raises MemoryError.
        """
        states, rotations = states.clone(), rotations.contiguous()
        spans_array = []
        for cache, count in spans:
            caches = (_LayerCache * self._model.count)(*(_LayerCache(*entry) for entry in cache.addresses()))
            spans_array.append(_Span(caches, cache.length, count))
        cpu.step(self._model, (_Span * len(spans_array))(*spans_array), states, rotations, self._threads)
        return states


def _linears(block: Any) -> tuple[Any, ...]:
    """In the order of MATRICES."""
    attention, feed = block.attention, block.feed_forward
    return attention.wq, attention.wk, attention.wv, attention.wo, feed.w1, feed.w3, feed.w2


def _layer(block: Any) -> _Layer:
    norms = (block.attention_norm, block.ffn_norm)
    return _Layer(*(norm.weight.data_ptr() for norm in norms), *map(_matrix, _linears(block)))


def _matrix(linear: Any) -> cpu.Matrix:
    return linear.matrix if isinstance(linear, cpu.HasMatrix) else cpu.matrix(linear.weight, linear.in_features)
