"""mistral_inference's own `generate`, given the CPU attention it lacks: the peer this project replaces."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL.Image import Image

from benchmarks.peers.encoded import Encoded
from benchmarks.scenario import Turn, peak_memory


def missing(precision: str) -> str:
    return ""


def prepare(folder: Path, precision: str) -> None:
    """It takes our folder."""


def open_program(folder: Path, precision: str, context: int, slots: int, label: str) -> "MistralInference":
    return MistralInference(folder)


class MistralInference(Encoded):
    """Every turn builds a new cache and encodes the pictures again, as `generate` does."""

    def __init__(self, folder: Path) -> None:
        _supply_attention()
        import torch
        from mistral_inference import generate
        from mistral_inference.transformer import Transformer

        super().__init__(folder)
        self._model = Transformer.from_folder(folder, device="cpu", dtype=torch.bfloat16)
        self._module: Any = generate
        self._sample = generate.sample
        self._stamps: list[float] = []
        self._module.sample = self._stamped

    def _stamped(self, *args: Any, **options: Any) -> Any:
        token = self._sample(*args, **options)
        self._stamps.append(time.perf_counter())
        return token

    def ask(self, text: str, images: Sequence[Image], tokens: int) -> Turn:
        self._stamps.clear()
        began = time.perf_counter()
        encoded = self.encode(text, images)
        answers, _ = self._module.generate(
            [encoded.tokens], self._model, images=[encoded.images], max_tokens=tokens, temperature=0.0
        )
        self.answered(answers[0])
        first, *_, last = self._stamps
        return Turn(first - began, last - first, len(self._stamps), len(encoded.tokens))

    def close(self) -> dict[str, float]:
        return {"memory": peak_memory()}


@dataclass(frozen=True)
class _Mask:
    """Stands in for the attention masks of xformers, for one sequence: causal, or the first `valid` keys."""

    causal: bool = False
    valid: int | None = None

    @staticmethod
    def from_seqlens(*lengths: Any, q_seqlen: Any = None, kv_seqlen: Any = None, kv_padding: int = 0) -> "_Mask":
        return _Mask(valid=kv_seqlen[0]) if kv_padding else _Mask()

    def make_local_attention(self, window: int) -> "_Mask":
        return _Mask(causal=True)

    make_local_attention_from_bottomright = make_local_attention


def _attention(query: Any, key: Any, value: Any, mask: _Mask | None = None) -> Any:
    from torch.nn.functional import scaled_dot_product_attention

    if mask is not None and mask.valid is not None:  # xformers never reads the padding, which is uninitialised
        key, value = key[:, : mask.valid], value[:, : mask.valid]
    query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))
    causal = mask is not None and mask.causal
    return scaled_dot_product_attention(query, key, value, is_causal=causal).transpose(1, 2)


def _supply_attention() -> None:
    names = (
        "AttentionBias",
        "BlockDiagonalMask",
        "BlockDiagonalCausalMask",
        "BlockDiagonalCausalWithOffsetPaddedKeysMask",
    )
    fmha, bias = ModuleType("xformers.ops.fmha"), ModuleType("xformers.ops.fmha.attn_bias")
    fmha.__dict__.update(memory_efficient_attention=_attention, attn_bias=bias)
    bias.__dict__.update(dict.fromkeys(names, _Mask))
    sys.modules.update({
        "xformers": ModuleType("xformers"),
        "xformers.ops": ModuleType("xformers.ops"),
        "xformers.ops.fmha": fmha,
        "xformers.ops.fmha.attn_bias": bias,
    })  # fmt: skip
