"""The decoder: embedded tokens through the layers, several sequences a step. Knows no tokens' text and chooses none."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from pixtral_cli.engines.local.config import Params
from pixtral_cli.engines.local.kernels.cpu import FEW, linear
from pixtral_cli.engines.local.model.attention import Rotary, attend, causal_mask
from pixtral_cli.engines.local.model.block import norm, run_block
from pixtral_cli.engines.local.model.fused_step import Fused, can
from pixtral_cli.engines.local.model.kv_cache import KVCache
from pixtral_cli.engines.local.model.loaded import Weights
from pixtral_cli.engines.local.runtime.cancellation import Check, go_on
from pixtral_cli.engines.local.runtime.placement import threads


@dataclass(frozen=True, slots=True)
class Span:
    """The next `length` positions of the sequence with this cache.

    With `apart`, each is attended to as in a step of its own, to the last bit, and all their states are wanted.
    """

    cache: KVCache
    length: int
    apart: bool = False

    def wanted(self, stop: int) -> range:
        """Which states of a step in which this span ends at `stop`."""
        return range(stop - (self.length if self.apart else 1), stop)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        keys, values = self.cache.append(layer, key, value)
        if not self.apart or self.length == 1:
            return attend(query, keys, values, mask)
        stops = range(keys.shape[1] - self.length + 1, keys.shape[1] + 1)
        return torch.cat(
            [
                attend(q, keys[:, :stop], values[:, :stop], None)
                for q, stop in zip(torch.split(query, 1), stops, strict=True)
            ]
        )


class Decoder:
    """The language model's layers. The caches of a step are advanced when all of it is done, or not at all."""

    def __init__(self, weights: Weights, params: Params) -> None:
        self._model = weights.model
        self._device = weights.device
        self._place = weights.device, weights.dtype, params.head_dim
        self._rotary = Rotary(params.head_dim, params.rope_theta, weights.device)
        self._threads = threads(weights.size)
        self._fused = Fused(weights, params, self._threads) if can(weights, params) else None

    @property
    def by_kernel(self) -> bool:
        """Whether a few positions are: each as it would be alone, and with none of torch's threads, which would be in the way."""
        return self._fused is not None

    @torch.inference_mode()
    def embed(self, tokens: Sequence[int]) -> Tensor:
        """Token ids to (T, dim)."""
        embedded: Tensor = self._model.tok_embeddings(torch.tensor(tokens, device=self._device))
        return embedded

    @torch.inference_mode()
    def forward(self, states: Tensor, spans: Sequence[Span], check: Check = go_on) -> Tensor:
        """Run embedded positions (T, dim), the spans' one after the other; returns each span's last state, (spans, dim).

        Of a span that is computed `apart` it returns every state.
        `check` is called before every layer and may raise.
        """
        for span in spans:
            span.cache.grow(span.cache.length + span.length)
        lengths = [span.length for span in spans]
        starts = [span.cache.length for span in spans]
        turns = torch.cat(
            [self._rotary.at(start, start + length) for start, length in zip(starts, lengths, strict=True)]
        )
        if self._fused and len(states) <= FEW:
            states = self._fused(states, [(span.cache, span.length) for span in spans], turns)
        else:
            states = self._layers(states, spans, turns, check)
        for span in spans:
            span.cache.length += span.length
        wanted = [index for span, stop in zip(spans, accumulate(lengths), strict=True) for index in span.wanted(stop)]
        return states[torch.tensor(wanted)]

    def _layers(self, states: Tensor, spans: Sequence[Span], turns: Tensor, check: Check) -> Tensor:
        """Every position after all layers, in torch."""
        lengths = [span.length for span in spans]
        masks = [None if span.apart else causal_mask(span.length, span.cache.length, *self._place) for span in spans]
        for index, block in enumerate(self._model.layers.values()):

            def attend_spans(query: Tensor, key: Tensor, value: Tensor, layer: int = index) -> Tensor:
                parts = zip(*(torch.split(part, lengths) for part in (query, key, value)), strict=True)
                out = [
                    span.attend(layer, q, k, v, mask) for span, mask, (q, k, v) in zip(spans, masks, parts, strict=True)
                ]
                return torch.cat(out) if len(out) > 1 else out[0]

            check()
            states = run_block(block, states, turns, attend_spans)
        return states

    @torch.inference_mode()
    def logits(self, states: Tensor) -> Tensor:
        """Last states (N, dim) to logits (N, vocabulary) in float32."""
        return linear(self._model.output, norm(self._model.norm, states), self._threads).float()
