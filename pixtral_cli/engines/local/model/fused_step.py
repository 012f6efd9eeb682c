"""A decoder step for a few positions in one call of the CPU kernel, which runs all layers."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from pixtral_cli.engines.local.config import Params
from pixtral_cli.engines.local.kernels import cpu
from pixtral_cli.engines.local.model.kv_cache import KVCache
from pixtral_cli.engines.local.model.loaded import Weights


def supports_fused_step(weights: Weights, params: Params) -> bool:
    """Whether the kernel computes decoder steps of these weights on their device, in their dtype."""
    linears = [module for block in weights.model.layers.values() for module in _linears(block)]
    plain = all(isinstance(module, cpu.HasMatrix) or module.weight.dtype == weights.dtype for module in linears)
    return cpu.supports_attention(weights.device, weights.dtype, params.head_dim) and plain


class FusedStep:
    """The decoder layers of a model for which `supports_fused_step`, for up to `MAX_ROWS` positions."""

    def __init__(self, weights: Weights, params: Params, threads: int) -> None:
        self._weights = weights.model  # a reference: the kernel holds addresses of its tensors
        layers = [_layer(block) for block in weights.model.layers.values()]
        self._decoder = cpu.Decoder(
            (cpu.Layer * len(layers))(*layers), len(layers), params.dim, params.hidden_dim, params.n_heads, params.n_kv_heads,
            params.head_dim, weights.dtype.itemsize, params.norm_eps,
        )  # fmt: skip
        self._threads = threads

    def __call__(
        self, states: Tensor, spans: Iterable[tuple[KVCache, int]], rotations: Tensor, scales: Tensor | None = None
    ) -> Tensor:
        """Embedded positions (T, dim) after all layers.

        `spans`: each cache, which must have capacity, with its new positions. `rotations`: complex (T, head_dim / 2);
        `scales`: factors of the queries (T). Raises MemoryError.
        """
        states, rotations = states.clone(), rotations.contiguous()
        sequences = []
        for cache, count in spans:
            caches = (cpu.KVLayer * self._decoder.n_layers)(*(cpu.KVLayer(*entry) for entry in cache.addresses()))
            sequences.append(cpu.Sequence(caches, cache.length, count))
        array = (cpu.Sequence * len(sequences))(*sequences)
        cpu.decoder_step(self._decoder, array, states, rotations, scales, self._threads)
        return states


def _linears(block: Any) -> tuple[Any, ...]:
    """The linear layers of a block, in the order of cpu.Layer."""
    attention, feed_forward = block.attention, block.feed_forward
    return attention.wq, attention.wk, attention.wv, attention.wo, feed_forward.w1, feed_forward.w3, feed_forward.w2


def _layer(block: Any) -> cpu.Layer:
    norms = (block.attention_norm, block.ffn_norm)
    return cpu.Layer(*(norm.weight.data_ptr() for norm in norms), *map(_matrix, _linears(block)))


def _matrix(linear: Any) -> cpu.Matrix:
    return linear.matrix if isinstance(linear, cpu.HasMatrix) else cpu.matrix(linear.weight, linear.in_features)
