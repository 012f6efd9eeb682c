"""The language model: embeddings through the decoder layers to logits, for several sequences in one step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pixtral_cli.engines.local.config import Params
from pixtral_cli.engines.local.kernels import gpu
from pixtral_cli.engines.local.kernels.cpu import linear
from pixtral_cli.engines.local.kernels.formats import MAX_ROWS
from pixtral_cli.engines.local.model.attention import attend, causal_mask
from pixtral_cli.engines.local.model.block import norm, residual_dtype, run_block
from pixtral_cli.engines.local.model.decode_attention import DecodeAttention
from pixtral_cli.engines.local.model.fused_step import FusedStep, supports_fused_step
from pixtral_cli.engines.local.model.kv_cache import KVCache
from pixtral_cli.engines.local.model.loaded import Weights
from pixtral_cli.engines.local.model.rope import RopeTable
from pixtral_cli.engines.local.runtime.cancellation import CancelCheck, no_cancel
from pixtral_cli.engines.local.runtime.placement import thread_count


@dataclass(frozen=True, slots=True)
class Span:
    """The next `length` positions of the sequence that `cache` belongs to.

    With `separate`, each position attends as in a step of its own, bit for bit, and `forward` returns all their states
    (else the last one's).
    """

    cache: KVCache
    length: int
    separate: bool = False

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        keys, values = self.cache.append(layer, key, value)
        if not self.separate or self.length == 1:
            return attend(query, keys, values, mask)
        stops = range(keys.shape[1] - self.length + 1, keys.shape[1] + 1)
        return torch.cat(
            [
                attend(q, keys[:, :stop], values[:, :stop], None)
                for q, stop in zip(torch.split(query, 1), stops, strict=True)
            ]
        )


class Decoder:
    """The language model's layers. A step advances all its caches, or none where it fails."""

    def __init__(self, weights: Weights, params: Params) -> None:
        self._model = weights.model
        self._device = weights.device
        self._kernel_key = weights.device, weights.dtype, params.head_dim
        self._attention_kind = weights.device, weights.dtype, params.n_heads, params.n_kv_heads, params.head_dim
        self._rope = RopeTable(params, weights.device)
        self._threads = thread_count(weights.size)
        self._fused = FusedStep(weights, params, self._threads) if supports_fused_step(weights, params) else None

    @property
    def uses_fused_step(self) -> bool:
        """Whether up to `MAX_ROWS` positions run in our kernel: each bit for bit as alone, and without torch's threads."""
        return self._fused is not None

    @torch.inference_mode()
    def embed(self, tokens: Sequence[int]) -> Tensor:
        """Token ids to (T, dim)."""
        embedded: Tensor = self._model.tok_embeddings(torch.tensor(tokens, device=self._device))
        return embedded.to(residual_dtype(embedded.dtype))

    @torch.inference_mode()
    def forward(self, states: Tensor, spans: Sequence[Span], check: CancelCheck = no_cancel) -> Tensor:
        """Run the spans' embedded positions (T, dim), one span after the other.

        Returns the last state of each span, every state of a `separate` one: (N, dim). `check` is called before every
        layer and may raise.
        """
        for span in spans:
            span.cache.grow(span.cache.length + span.length)
        states = self._run(states, spans, check)
        for span in spans:
            span.cache.length += span.length
        parts = torch.split(states, [span.length for span in spans])
        rows = [part if span.separate else part[-1:] for span, part in zip(spans, parts, strict=True)]
        return torch.cat(rows) if len(rows) > 1 else rows[0]

    def _run(self, states: Tensor, spans: Sequence[Span], check: CancelCheck) -> Tensor:
        """Positions (T, dim) after all layers."""
        ranges = [(span.cache.length, span.cache.length + span.length) for span in spans]
        rotations = torch.cat([self._rope.rows(*each) for each in ranges])
        lengths, scales = [span.length for span in spans], [self._rope.scales(*each) for each in ranges]
        if self._fused and len(states) <= MAX_ROWS:
            return self._fused(
                states, [(span.cache, span.length) for span in spans], rotations, _joined(scales, lengths)
            )
        attend_layer = self._attention(spans, lengths, scales)
        for index, block in enumerate(self._model.layers.values()):
            check()
            states = run_block(block, states, rotations, partial(attend_layer, index))
        return states

    def _attention(
        self, spans: Sequence[Span], lengths: list[int], scales: Sequence[Tensor | None]
    ) -> Callable[[int, Tensor, Tensor, Tensor], Tensor]:
        """How a layer, by its number, attends from rotated queries (T, H, D) to keys and values (T, G, D) and the caches."""
        if all(length == 1 for length in lengths) and gpu.supports_decode_attention(*self._attention_kind):
            step = DecodeAttention([span.cache for span in spans], self._device)
            factors = _joined(scales, lengths)
            return lambda layer, query, key, value: step.attend(layer, _scaled(query, factors), key, value)
        masks = [
            None if span.separate else causal_mask(span.length, span.cache.length, *self._kernel_key) for span in spans
        ]

        def attend_spans(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            parts = zip(*(torch.split(part, lengths) for part in (query, key, value)), strict=True)
            out = [
                span.attend(layer, _scaled(q, scale), k, v, mask)
                for span, mask, scale, (q, k, v) in zip(spans, masks, scales, parts, strict=True)
            ]
            return torch.cat(out) if len(out) > 1 else out[0]

        return attend_spans

    @torch.inference_mode()
    def logits(self, states: Tensor) -> Tensor:
        """States after the last layer (N, dim) to logits (N, vocabulary) in float32."""
        return linear(self._model.output, norm(self._model.norm, states), self._threads).float()


def _joined(scales: Sequence[Tensor | None], lengths: Sequence[int]) -> Tensor | None:
    """The factors of all spans' queries; None where all are 1."""
    device = next((scale.device for scale in scales if scale is not None), None)
    if device is None:
        return None
    parts = zip(scales, lengths, strict=True)
    return torch.cat([torch.ones(length, device=device) if scale is None else scale for scale, length in parts])


def _scaled(query: Tensor, scale: Tensor | None) -> Tensor:
    """Queries (T, H, D) times factors (T), rounded once."""
    return query if scale is None else (query * scale[:, None, None]).to(query.dtype)
