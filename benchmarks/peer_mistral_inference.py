"""mistral_inference's own `generate`, given the CPU attention it lacks: the peer this project replaces."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.scenario import QUESTIONS, Result, Turn, peak_memory, picture


def run(folder: Path, side: int, tokens: int) -> Result:
    """One conversation. Every turn builds a new cache and encodes the picture again, as `generate` does."""
    start = time.perf_counter()
    _supply_attention()
    import torch
    from mistral_common.protocol.instruct.chunk import ImageChunk, TextChunk
    from mistral_common.protocol.instruct.messages import AssistantMessage, UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
    from mistral_inference import generate as module
    from mistral_inference.generate import generate
    from mistral_inference.transformer import Transformer

    tokenizer = MistralTokenizer.from_file(str(folder / "tekken.json"))
    model = Transformer.from_folder(folder, device="cpu", dtype=torch.bfloat16)
    result = Result("mistral_inference", time.perf_counter() - start)
    messages: list[Any] = []
    stamps: list[float] = []

    def stamped(*args: Any, _sample: Any = module.sample, **options: Any) -> Any:
        token = _sample(*args, **options)
        stamps.append(time.perf_counter())
        return token

    module.sample = stamped

    for index, question in enumerate(QUESTIONS):
        content: Any = [ImageChunk(image=picture(side)), TextChunk(text=question)] if index == 0 else question
        messages.append(UserMessage(content=content))
        stamps.clear()
        began = time.perf_counter()
        encoded = tokenizer.encode_chat_completion(ChatCompletionRequest(messages=messages))
        answers, _ = generate([encoded.tokens], model, images=[encoded.images], max_tokens=tokens, temperature=0.0)
        result.turns.append(Turn(stamps[0] - began, stamps[-1] - stamps[0], tokens, len(encoded.tokens)))
        messages.append(AssistantMessage(content=tokenizer.decode(answers[0]) or "."))
    result.peak_memory = peak_memory()
    return result


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
