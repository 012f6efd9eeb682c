"""Random checkpoints of the Pixtral architecture in mistral format, pictures for them, and the same weights in transformers.

For every test and benchmark that needs a model of true structure and no meaning.
"""

import io
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import mistral_common
import numpy as np
import torch
from mistral_common.protocol.instruct.chunk import ImageChunk
from mistral_common.tokens.tokenizers.image import ImageConfig, ImageEncoder, SpecialImageIDs
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from PIL import Image as PILImage
from safetensors.torch import save_file

from pixtral_cli import images
from pixtral_cli.images.image import Image

TRUE_TEKKEN = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
THINKING = ("[THINK]", "[/THINK]", "[MODEL_SETTINGS]", "[/MODEL_SETTINGS]")  # in templates from v13 on
SPECIALS = 20  # what the cut tokenizer has before its first byte


@dataclass(frozen=True)
class Sizes:
    """A small Pixtral. `image` bounds the sides of a sent picture in pixels; `merge` 2 makes it like Mistral Small 3.1."""

    dim: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    hidden: int = 96
    vocab: int = 512
    theta: float = 1e6
    vision_dim: int = 48
    vision_layers: int = 2
    vision_heads: int = 4
    vision_hidden: int = 64
    vision_theta: float = 1e4
    patch: int = 16
    image: int = 96
    merge: int = 1
    tied: bool = False
    version: str = "v3"
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, Any]:
        """The content of params.json."""
        vision: dict[str, Any] = {
            "hidden_size": self.vision_dim, "num_channels": 3, "image_size": self.image, "patch_size": self.patch,
            "intermediate_size": self.vision_hidden, "num_hidden_layers": self.vision_layers,
            "num_attention_heads": self.vision_heads, "rope_theta": self.vision_theta, "image_token_id": 10,
        }  # fmt: skip
        if self.merge > 1:
            vision |= {
                "adapter_bias": False, "spatial_merge_size": self.merge, "mm_projector_id": "patch_merge",
                "add_pre_mm_projector_layer_norm": True,
            }  # fmt: skip
        return {
            "dim": self.dim, "n_layers": self.layers, "head_dim": self.head_dim, "hidden_dim": self.hidden,
            "n_heads": self.heads, "n_kv_heads": self.kv_heads, "norm_eps": 1e-5, "vocab_size": self.vocab,
            "rope_theta": self.theta, "vision_encoder": vision, **self.extra,
        }  # fmt: skip


def build(folder: Path, sizes: Sizes | None = None, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    """Write params.json, consolidated.safetensors and tekken.json of a random model into `folder`; returns it."""
    sizes = sizes or Sizes()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.json").write_text(json.dumps(sizes.params))
    (folder / "tekken.json").write_text(json.dumps(cut_tekken(sizes)))
    state = {name: tensor.to(dtype) for name, tensor in random_state(sizes, seed).items()}
    if sizes.tied:
        del state["output.weight"]
    save_file(state, folder / "consolidated.safetensors")
    return folder


def random_state(sizes: Sizes, seed: int) -> dict[str, torch.Tensor]:
    """Weights under mistral's names, scaled so that attention and logits are neither flat nor extreme."""
    generator = torch.Generator().manual_seed(seed)

    def matrix(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))

    def scale(size: int) -> torch.Tensor:
        return 1 + 0.1 * torch.randn(size, generator=generator)

    def block(prefix: str, dim: int, heads: int, kv_heads: int, head_dim: int, hidden: int) -> dict[str, torch.Tensor]:
        return {
            f"{prefix}.attention.wq.weight": 2 * matrix(heads * head_dim, dim),
            f"{prefix}.attention.wk.weight": matrix(kv_heads * head_dim, dim),
            f"{prefix}.attention.wv.weight": matrix(kv_heads * head_dim, dim),
            f"{prefix}.attention.wo.weight": matrix(dim, heads * head_dim),
            f"{prefix}.feed_forward.w1.weight": matrix(hidden, dim),
            f"{prefix}.feed_forward.w2.weight": matrix(dim, hidden),
            f"{prefix}.feed_forward.w3.weight": matrix(hidden, dim),
            f"{prefix}.attention_norm.weight": scale(dim),
            f"{prefix}.ffn_norm.weight": scale(dim),
        }

    s = sizes
    state = {"tok_embeddings.weight": torch.randn(s.vocab, s.dim, generator=generator), "norm.weight": scale(s.dim)}
    state["output.weight"] = state["tok_embeddings.weight"].clone() if s.tied else 2 * matrix(s.vocab, s.dim)
    for layer in range(s.layers):
        state |= block(f"layers.{layer}", s.dim, s.heads, s.kv_heads, s.head_dim, s.hidden)
    state["vision_encoder.patch_conv.weight"] = matrix(s.vision_dim, 3, s.patch, s.patch)
    state["vision_encoder.ln_pre.weight"] = scale(s.vision_dim)
    head_dim = s.vision_dim // s.vision_heads
    for layer in range(s.vision_layers):
        prefix = f"vision_encoder.transformer.layers.{layer}"
        state |= block(prefix, s.vision_dim, s.vision_heads, s.vision_heads, head_dim, s.vision_hidden)
    state["vision_language_adapter.w_in.weight"] = matrix(s.dim, s.vision_dim)
    state["vision_language_adapter.w_out.weight"] = matrix(s.dim, s.dim)
    if s.merge > 1:
        state["pre_mm_projector_norm.weight"] = scale(s.vision_dim)
        state["patch_merger.merging_layer.weight"] = matrix(s.vision_dim, s.vision_dim * s.merge**2)
    else:
        state["vision_language_adapter.w_in.bias"] = 0.1 * torch.randn(s.dim, generator=generator)
        state["vision_language_adapter.w_out.bias"] = 0.1 * torch.randn(s.dim, generator=generator)
    return state


@cache
def _tekken() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(TRUE_TEKKEN.read_bytes())
    return content


def cut_tekken(sizes: Sizes) -> dict[str, Any]:
    """The true tokenizer with only its first tokens: merges come in order, so any beginning is whole in itself."""
    true = _tekken()
    own = SPECIALS + len(_added_specials(sizes.version))
    kept = sizes.vocab - own if sizes.vocab < 131072 else len(true["vocab"])
    specials = own if sizes.vocab < 131072 else true["config"]["default_num_special_tokens"]
    config = {
        **true["config"], "num_vocab_tokens": kept, "default_vocab_size": sizes.vocab,
        "default_num_special_tokens": specials, "version": sizes.version,
    }  # fmt: skip
    image = {"image_patch_size": sizes.patch, "max_image_size": sizes.image, "spatial_merge_size": sizes.merge}
    whole = {**true, "vocab": true["vocab"][:kept], "config": config, "image": image}
    if sizes.version == "v15":
        whole["model_settings_builder"] = {
            "reasoning_effort": {"type": "enum", "values": ["none", "high"], "accepts_none": True, "default": "high"}
        }
    return whole if sizes.version in ("v3", "v7") else {**whole, "special_tokens": _later_specials(sizes.version)}


def _added_specials(version: str) -> tuple[str, ...]:
    return {"v13": THINKING[:2], "v15": THINKING}.get(version, ())


def _later_specials(version: str) -> list[dict[str, Any]]:
    """Special tokens as later files list them: those that templates from v11 on want, in the places of unused ones."""
    instead = {"[MIDDLE]": "[ARGS]", "<unk>": "[CALL_ID]"}
    names = [token["token_str"] for token in Tekkenizer.DEPRECATED_SPECIAL_TOKENS]
    names += _added_specials(version)
    return [{"rank": rank, "token_str": instead.get(name, name), "is_control": True} for rank, name in enumerate(names)]


def picture(width: int, height: int, seed: int = 0) -> PILImage.Image:
    """A picture with structure: gradients, and noise in blocks."""
    noise = np.random.default_rng(seed)
    x, y = np.linspace(0, 255, width)[None, :, None], np.linspace(0, 255, height)[:, None, None]
    blocks = noise.integers(0, 255, (height // 7 + 1, width // 7 + 1, 3)).repeat(7, 0).repeat(7, 1)[:height, :width]
    mixed = 0.3 * x * noise.random(3) + 0.3 * y * noise.random(3) + 0.4 * blocks
    return PILImage.fromarray(mixed.astype(np.uint8), "RGB")


def image(width: int, height: int, seed: int = 0) -> Image:
    """A `picture` as the product takes it."""
    data = io.BytesIO()
    picture(width, height, seed).save(data, "PNG")
    return images.from_bytes(data.getvalue(), f"{seed}.png")


def random_sizes(seed: int) -> Sizes:
    """A small model of varied structure."""
    draw = random.Random(seed)
    head_dim, groups = draw.choice([8, 16, 32]), draw.choice([1, 2, 3])
    per_group = draw.choice([1, 2, 4])
    vision_heads = draw.choice([2, 3])
    return Sizes(
        dim=draw.choice([48, 64, 80]), layers=draw.choice([1, 2, 3]), heads=groups * per_group, kv_heads=groups,
        head_dim=head_dim, hidden=draw.choice([64, 112]), theta=draw.choice([1e4, 1e6, 1e9]),
        vision_dim=vision_heads * draw.choice([8, 16]), vision_layers=draw.choice([1, 2, 3]), vision_heads=vision_heads,
        vision_theta=draw.choice([1e2, 1e4]), image=draw.choice([64, 96, 128]), tied=draw.random() < 0.3,
    )  # fmt: skip


class Reference:
    """transformers' LlavaForConditionalGeneration with the weights of `build(…, sizes, seed)` in float32."""

    def __init__(self, sizes: Sizes, seed: int) -> None:
        self.sizes = sizes
        self.model = llava(sizes)
        self.model.load_state_dict(to_transformers(random_state(sizes, seed), sizes))

    @torch.inference_mode()
    def logits(self, tokens: Sequence[int], pictures: Sequence[PILImage.Image]) -> torch.Tensor:
        """(tokens, vocabulary); the pictures are processed by mistral_common itself."""
        inputs: dict[str, Any] = {"input_ids": torch.tensor([tokens])}
        if pictures:
            arrays = [torch.from_numpy(processed(each, self.sizes)) for each in pictures]
            shapes = torch.tensor([array.shape[1:] for array in arrays])
            padded = torch.zeros(len(arrays), 3, *shapes.max(0).values.tolist())
            for index, array in enumerate(arrays):
                padded[index, :, : array.shape[1], : array.shape[2]] = array
            inputs |= {"pixel_values": padded, "image_sizes": shapes}
        logits: torch.Tensor = self.model(**inputs).logits[0]
        return logits

    def greedy(self, tokens: Sequence[int], pictures: Sequence[PILImage.Image], count: int, eos: int = 2) -> list[int]:
        """The likeliest continuation, computed anew for every token."""
        answer: list[int] = []
        while len(answer) < count:
            token = int(self.logits([*tokens, *answer], pictures)[-1].argmax())
            if token == eos:
                break
            answer.append(token)
        return answer


def processed(each: PILImage.Image, sizes: Sizes) -> np.ndarray[Any, Any]:
    """A picture as mistral_common's own encoder makes it: (3, height, width)."""
    encoder = ImageEncoder(ImageConfig(sizes.patch, sizes.image, sizes.merge), SpecialImageIDs(10, 12, 13))
    return encoder(ImageChunk(image=each)).image


def llava(sizes: Sizes) -> Any:
    from transformers import LlavaConfig, LlavaForConditionalGeneration, MistralConfig, PixtralVisionConfig

    vision = PixtralVisionConfig(
        hidden_size=sizes.vision_dim, intermediate_size=sizes.vision_hidden, num_hidden_layers=sizes.vision_layers,
        num_attention_heads=sizes.vision_heads, image_size=sizes.image, patch_size=sizes.patch, hidden_act="silu",
        rope_parameters={"rope_type": "axial", "rope_theta": sizes.vision_theta},
    )  # fmt: skip
    text = MistralConfig(
        vocab_size=sizes.vocab, hidden_size=sizes.dim, intermediate_size=sizes.hidden, num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads, num_key_value_heads=sizes.kv_heads, head_dim=sizes.head_dim,
        rms_norm_eps=1e-5, sliding_window=None, max_position_embeddings=128000,
        rope_parameters={"rope_type": "default", "rope_theta": sizes.theta},
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=10, image_seq_length=1, vision_feature_layer=-1,
        vision_feature_select_strategy="full", projector_hidden_act="gelu",
    )  # fmt: skip
    model: Any = LlavaForConditionalGeneration(config)
    return model.eval()


NAMES = {
    "attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj", "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj", "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj", "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}  # fmt: skip


def to_transformers(state: dict[str, torch.Tensor], sizes: Sizes) -> dict[str, torch.Tensor]:
    """The same weights under transformers' names, rotary pairs laid out as halves."""
    renamed = {}
    for name, tensor in state.items():
        vision = name.startswith("vision_encoder")
        if name.endswith(("wq.weight", "wk.weight")):
            tensor = _halves(tensor, sizes.vision_dim // sizes.vision_heads if vision else sizes.head_dim)
        renamed[_renamed(name, vision)] = tensor
    return renamed


def _renamed(name: str, vision: bool) -> str:
    outside = {
        "tok_embeddings.weight": "model.language_model.embed_tokens.weight",
        "norm.weight": "model.language_model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    if name in outside:
        return outside[name]
    if name.startswith("vision_language_adapter"):
        return name.replace("vision_language_adapter.w_in", "model.multi_modal_projector.linear_1").replace(
            "vision_language_adapter.w_out", "model.multi_modal_projector.linear_2"
        )
    if vision:
        name = name.replace("vision_encoder.", "model.vision_tower.")
        for ours in ("wq", "wk", "wv", "wo"):
            theirs = NAMES[f"attention.{ours}"].partition(".")[2]
            name = name.replace(f"attention.{ours}", f"attention.{theirs}")
        for ours in ("w1", "w2", "w3"):
            theirs = NAMES[f"feed_forward.{ours}"].partition(".")[2]
            name = name.replace(f"feed_forward.{ours}", f"feed_forward.{theirs}")
        return name
    for ours, theirs in NAMES.items():
        name = name.replace(f".{ours}.", f".{theirs}.")
    return f"model.language_model.{name}"


def _halves(weight: torch.Tensor, head_dim: int) -> torch.Tensor:
    return weight.view(-1, head_dim // 2, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)
