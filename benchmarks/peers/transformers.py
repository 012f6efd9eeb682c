"""transformers' LlavaForConditionalGeneration on the same weights, its KV cache kept from turn to turn: the fair best of it."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL.Image import Image

from benchmarks.peers.encoded import Encoded
from benchmarks.scenario import Turn, peak_memory

if TYPE_CHECKING:
    from tests.engines.local.checkpoints import Sizes


def missing(precision: str) -> str:
    return ""


def prepare(folder: Path, precision: str) -> None:
    """It takes our folder."""


def open_program(folder: Path, precision: str, context: int, slots: int, label: str) -> "Transformers":
    return Transformers(folder)


class Transformers(Encoded):
    """The prompt is encoded by mistral_common; only what the cache lacks is computed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._model = _model(folder)
        self.begin()

    def begin(self) -> None:
        from transformers import DynamicCache

        super().begin()
        self._cache = DynamicCache()
        self._computed: list[int] = []

    def ask(self, text: str, images: Sequence[Image], tokens: int) -> Turn:
        import torch

        began = time.perf_counter()
        encoded = self.encode(text, images)
        match = _common(self._computed, encoded.tokens)
        if match < len(self._computed):
            self._cache.crop(match - len(self._computed))  # minus so many tokens
        inputs: dict[str, Any] = {"input_ids": torch.tensor([encoded.tokens[match:]])}
        if images:
            pixels = torch.from_numpy(encoded.images[-1])[None].bfloat16()
            inputs |= {"pixel_values": pixels, "image_sizes": torch.tensor([pixels.shape[-2:]])}
        answer, stamps = [], []
        for _ in range(tokens):
            with torch.inference_mode():
                logits = self._model(**inputs, past_key_values=self._cache, use_cache=True, logits_to_keep=1).logits
            answer.append(int(logits[0, -1].argmax()))
            stamps.append(time.perf_counter())
            inputs = {"input_ids": torch.tensor([[answer[-1]]])}
        self._computed = encoded.tokens + answer[:-1]
        self.answered(answer)
        return Turn(stamps[0] - began, stamps[-1] - stamps[0], tokens, len(encoded.tokens))

    def close(self) -> dict[str, float]:
        return {"memory": peak_memory()}


def _common(ours: list[int], theirs: list[int]) -> int:
    length = 0
    for mine, wanted in zip(ours, theirs[:-1], strict=False):
        if mine != wanted:
            break
        length += 1
    return length


def _model(folder: Path) -> Any:
    from safetensors.torch import load_file

    from tests.engines.local.checkpoints import llava, to_transformers

    sizes = _sizes(json.loads((folder / "params.json").read_text()))
    model = llava(sizes).bfloat16()
    model.load_state_dict(to_transformers(load_file(folder / "consolidated.safetensors"), sizes), assign=True)
    return model


def _sizes(params: dict[str, Any]) -> "Sizes":
    from tests.engines.local.checkpoints import Sizes

    vision = params["vision_encoder"]
    return Sizes(
        dim=params["dim"], layers=params["n_layers"], heads=params["n_heads"], kv_heads=params["n_kv_heads"],
        head_dim=params["head_dim"], hidden=params["hidden_dim"], vocab=params["vocab_size"],
        theta=params["rope_theta"], vision_dim=vision["hidden_size"], vision_layers=vision["num_hidden_layers"],
        vision_heads=vision["num_attention_heads"], vision_hidden=vision["intermediate_size"],
        vision_theta=vision["rope_theta"], image=vision["image_size"],
    )  # fmt: skip
