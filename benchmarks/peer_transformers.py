"""transformers' LlavaForConditionalGeneration on the same weights, its KV cache kept from turn to turn: the fair best of it."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.scenario import QUESTIONS, Result, Turn, peak_memory, picture

if TYPE_CHECKING:
    from tests.engines.checkpoints import Sizes


def run(folder: Path, side: int, tokens: int) -> Result:
    """One conversation, encoded by mistral_common; only what the cache lacks is computed."""
    start = time.perf_counter()
    import torch
    from mistral_common.protocol.instruct.chunk import ImageChunk, TextChunk
    from mistral_common.protocol.instruct.messages import AssistantMessage, UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
    from transformers import DynamicCache

    tokenizer = MistralTokenizer.from_file(str(folder / "tekken.json"))
    model = _model(folder)
    result = Result("transformers", time.perf_counter() - start)
    messages: list[Any] = []
    cache = DynamicCache()
    computed: list[int] = []
    for index, question in enumerate(QUESTIONS):
        content: Any = [ImageChunk(image=picture(side)), TextChunk(text=question)] if index == 0 else question
        messages.append(UserMessage(content=content))
        began = time.perf_counter()
        encoded = tokenizer.encode_chat_completion(ChatCompletionRequest(messages=messages))
        match = _common(computed, encoded.tokens)
        if match < len(computed):
            cache.crop(match - len(computed))  # minus so many tokens
        inputs: dict[str, Any] = {"input_ids": torch.tensor([encoded.tokens[match:]])}
        if index == 0:
            pixels = torch.from_numpy(encoded.images[0])[None].bfloat16()
            inputs |= {"pixel_values": pixels, "image_sizes": torch.tensor([pixels.shape[-2:]])}
        answer, stamps = [], []
        for _ in range(tokens):
            with torch.inference_mode():
                logits = model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            answer.append(int(logits[0, -1].argmax()))
            stamps.append(time.perf_counter())
            inputs = {"input_ids": torch.tensor([[answer[-1]]])}
        computed = encoded.tokens + answer[:-1]
        result.turns.append(Turn(stamps[0] - began, stamps[-1] - stamps[0], tokens, len(encoded.tokens)))
        messages.append(AssistantMessage(content=tokenizer.decode(answer) or "."))
    result.peak_memory = peak_memory()
    return result


def _common(ours: list[int], theirs: list[int]) -> int:
    length = 0
    for mine, wanted in zip(ours, theirs[:-1], strict=False):
        if mine != wanted:
            break
        length += 1
    return length


def _model(folder: Path) -> Any:
    from safetensors.torch import load_file

    from tests.engines.checkpoints import llava, to_transformers

    sizes = _sizes(json.loads((folder / "params.json").read_text()))
    model = llava(sizes).bfloat16()
    model.load_state_dict(to_transformers(load_file(folder / "consolidated.safetensors"), sizes), assign=True)
    return model


def _sizes(params: dict[str, Any]) -> "Sizes":
    from tests.engines.checkpoints import Sizes

    vision = params["vision_encoder"]
    return Sizes(
        dim=params["dim"], layers=params["n_layers"], heads=params["n_heads"], kv_heads=params["n_kv_heads"],
        head_dim=params["head_dim"], hidden=params["hidden_dim"], vocab=params["vocab_size"],
        theta=params["rope_theta"], vision_dim=vision["hidden_size"], vision_layers=vision["num_hidden_layers"],
        vision_heads=vision["num_attention_heads"], vision_hidden=vision["intermediate_size"],
        vision_theta=vision["rope_theta"], image=vision["image_size"],
    )  # fmt: skip
