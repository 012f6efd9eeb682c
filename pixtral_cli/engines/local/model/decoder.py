"""The language model: embeddings, decoder layers and logits, for several sequences in one step."""

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
    """The next `length` positions of the sequence with this KV cache.

    `separate`: each position attends bit for bit as in a step of its own, and `forward` returns the states of all of
    them; otherwise it returns the last one's.
    """

    cache: KVCache
    length: int
    separate: bool = False

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Append keys and values (T, G, D) to the cache; the attention of the queries: (T, H, D) → (T, H, D)."""
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
    """The layers of the language model. A step advances the caches of all its spans, or none where it fails."""

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
        """Whether steps of at most `MAX_ROWS` positions run in the CPU kernel: each position bit for bit as alone."""
        return self._fused is not None

    @torch.inference_mode()
    def embed(self, tokens: Sequence[int]) -> Tensor:
        """Token ids to (T, dim)."""
        embedded: Tensor = self._model.tok_embeddings(torch.tensor(tokens, device=self._device))
        return embedded.to(residual_dtype(embedded.dtype))

    @torch.inference_mode()
    def forward(self, states: Tensor, spans: Sequence[Span], check: CancelCheck = no_cancel) -> Tensor:
        """Run the embedded positions (T, dim) of the spans, concatenated, through all layers.

        Returns the last state of each span, and every state of a `separate` one: (N, dim). `check` is called before
        every layer and may raise.
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
        rotations = torch.cat([self._rope.rows(*positions) for positions in ranges])
        lengths, scales = [span.length for span in spans], [self._rope.scales(*positions) for positions in ranges]
        if self._fused and len(states) <= MAX_ROWS:
            return self._fused(
                states, [(span.cache, span.length) for span in spans], rotations, _concatenate_scales(scales, lengths)
            )
        attend_layer = self._attention(spans, lengths, scales)
        for index, block in enumerate(self._model.layers.values()):
            check()
            states = run_block(block, states, rotations, partial(attend_layer, index))
        return states

    def _attention(
        self, spans: Sequence[Span], lengths: list[int], scales: Sequence[Tensor | None]
    ) -> Callable[[int, Tensor, Tensor, Tensor], Tensor]:
        """This step's attention: a function of layer index, rotated queries (T, H, D), keys and values (T, G, D)."""
        if all(length == 1 for length in lengths) and gpu.supports_decode_attention(*self._attention_kind):
            step = DecodeAttention([span.cache for span in spans], self._device)
            factors = _concatenate_scales(scales, lengths)
            return lambda layer, query, key, value: step.attend(layer, _scale_queries(query, factors), key, value)
        masks = [
            None if span.separate else causal_mask(span.length, span.cache.length, *self._kernel_key) for span in spans
        ]

        def attend_spans(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            parts = zip(*(torch.split(part, lengths) for part in (query, key, value)), strict=True)
            out = [
                span.attend(layer, _scale_queries(q, scale), k, v, mask)
                for span, mask, scale, (q, k, v) in zip(spans, masks, scales, parts, strict=True)
            ]
            return torch.cat(out) if len(out) > 1 else out[0]

        return attend_spans

    @torch.inference_mode()
    def logits(self, states: Tensor) -> Tensor:
        """States after the last layer (N, dim) to logits (N, vocabulary) in float32."""
        return linear(self._model.output, norm(self._model.norm, states), self._threads).float()


def _concatenate_scales(scales: Sequence[Tensor | None], lengths: Sequence[int]) -> Tensor | None:
    """The factors of all spans' queries; None where all are 1."""
    device = next((scale.device for scale in scales if scale is not None), None)
    if device is None:
        return None
    parts = zip(scales, lengths, strict=True)
    return torch.cat([torch.ones(length, device=device) if scale is None else scale for scale, length in parts])


def _scale_queries(query: Tensor, scale: Tensor | None) -> Tensor:
    """Queries (T, H, D) times factors (T), rounded once."""
    return query if scale is None else (query * scale[:, None, None]).to(query.dtype)
