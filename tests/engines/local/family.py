"""Random checkpoints of the younger members of the family: YaRN, position scaling, tied embeddings, FP8; and transformers'.

For small `original_max_position_embeddings`, so that a short prompt reaches what only long ones reach in the true models.
"""

import base64
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from safetensors.torch import load_file, save_file

from tests.engines.local.checkpoints import Reference, Sizes, cut_tekken, random_sizes, random_state, to_transformers

DECODER_LINEAR = ("wq.weight", "wk.weight", "wv.weight", "wo.weight", "w1.weight", "w2.weight", "w3.weight")
NULLS = dict.fromkeys(("q_lora_rank", "kv_lora_rank", "qk_rope_head_dim", "v_head_dim", "moe", "sliding_window"))


def family_sizes(seed: int) -> Sizes:
    """A small member of the family: with and without merged patches, YaRN, scaled positions and tied embeddings."""
    draw = random.Random(seed)
    sizes, merge = random_sizes(seed), draw.choice([1, 2, 2])
    extra: dict[str, Any] = {"max_position_embeddings": draw.choice([16_384, 262_144]), **NULLS}
    original = draw.choice([32, 64, 100])
    if seed % 4:
        extra["yarn"] = {
            "original_max_position_embeddings": original, "factor": draw.choice([1, 4, 16.0]),
            "apply_scale": draw.random() < 0.5, "beta": draw.choice([32, 8]), "alpha": draw.choice([1, 2]),
        }  # fmt: skip
        if seed % 3:
            extra["llama_4_scaling"] = {"original_max_position_embeddings": original, "beta": draw.choice([0.1, 0.5])}
    if sizes.tied:
        extra["tied_embeddings"] = True
    patch = 14 if merge == 2 else 16
    version = draw.choice(["v3", "v7", "v11", "v13"]) if merge == 2 else "v3"
    return replace(sizes, merge=merge, patch=patch, image=patch * draw.choice([4, 6, 8]), version=version, extra=extra)


def transformers_config(sizes: Sizes) -> Any:
    """The same model as a config of Mistral3 (merged patches) or Llava."""
    from transformers import LlavaConfig, Ministral3Config, Mistral3Config, PixtralVisionConfig

    vision = PixtralVisionConfig(
        hidden_size=sizes.vision_dim, intermediate_size=sizes.vision_hidden, num_hidden_layers=sizes.vision_layers,
        num_attention_heads=sizes.vision_heads, image_size=sizes.image, patch_size=sizes.patch, hidden_act="silu",
        rope_parameters={"rope_type": "axial", "rope_theta": sizes.vision_theta},
    )  # fmt: skip
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": sizes.theta, "llama_4_scaling_beta": 0.0,
                            "original_max_position_embeddings": 1 << 20}  # fmt: skip
    if yarn := sizes.extra.get("yarn"):
        rope |= {
            "rope_type": "yarn", "factor": float(yarn["factor"]), "beta_fast": float(yarn["beta"]),
            "beta_slow": float(yarn["alpha"]),
            "original_max_position_embeddings": yarn["original_max_position_embeddings"],
            **({} if yarn["apply_scale"] else {"mscale": 1.0, "mscale_all_dim": 1.0}),
        }  # fmt: skip
    if scaling := sizes.extra.get("llama_4_scaling"):
        rope["llama_4_scaling_beta"] = scaling["beta"]
    text = Ministral3Config(
        vocab_size=sizes.vocab, hidden_size=sizes.dim, intermediate_size=sizes.hidden, num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads, num_key_value_heads=sizes.kv_heads, head_dim=sizes.head_dim,
        rms_norm_eps=1e-5, sliding_window=None, rope_parameters=rope,
        max_position_embeddings=sizes.extra.get("max_position_embeddings", 128_000), tie_word_embeddings=sizes.tied,
    )  # fmt: skip
    if sizes.merge > 1:
        return Mistral3Config(
            vision_config=vision, text_config=text, image_token_index=10, spatial_merge_size=sizes.merge,
            vision_feature_layer=-1, projector_hidden_act="gelu", tie_word_embeddings=sizes.tied,
        )  # fmt: skip
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=10, image_seq_length=1, vision_feature_layer=-1,
        vision_feature_select_strategy="full", projector_hidden_act="gelu", tie_word_embeddings=sizes.tied,
    )  # fmt: skip


class FamilyReference(Reference):
    """transformers' model with the weights of `state`, given under mistral's names."""

    def __init__(self, sizes: Sizes, state: dict[str, torch.Tensor]) -> None:
        from transformers import LlavaForConditionalGeneration, Mistral3ForConditionalGeneration

        self.sizes = sizes
        config = transformers_config(sizes)
        kind: Any = Mistral3ForConditionalGeneration if sizes.merge > 1 else LlavaForConditionalGeneration
        self.model: Any = kind(config).eval()
        self.model.load_state_dict(transformers_state(state, sizes))


def transformers_state(state: dict[str, torch.Tensor], sizes: Sizes) -> dict[str, torch.Tensor]:
    renamed = to_transformers(state, sizes)
    for ours, theirs in (
        ("pre_mm_projector_norm", "norm"),
        ("patch_merger.merging_layer", "patch_merger.merging_layer"),
    ):
        if (tensor := renamed.pop(f"model.language_model.{ours}.weight", None)) is not None:
            renamed[f"model.multi_modal_projector.{theirs}.weight"] = tensor
    return renamed


def in_transformers_format(folder: Path, sizes: Sizes, seed: int, *, hub_names: bool = True, parts: int = 2) -> Path:
    """The checkpoint of `build` as a repository in transformers' format, in shards; `hub_names`: as the older ones name."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: tensor.contiguous() for key, tensor in transformers_state(random_state(sizes, seed), sizes).items()}
    if sizes.tied:
        del state["lm_head.weight"]
    if hub_names:
        state = {hub_name(key): tensor for key, tensor in state.items()}
    weight_map: dict[str, str] = {}
    for part in range(parts):
        file, keys = f"model-{part + 1:05}-of-{parts:05}.safetensors", sorted(state)[part::parts]
        save_file({key: state[key] for key in keys}, folder / file)
        weight_map |= dict.fromkeys(keys, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    transformers_config(sizes).save_pretrained(folder)
    (folder / "tekken.json").write_text(json.dumps(cut_tekken(sizes)))
    return folder


def hub_name(key: str) -> str:
    """`model.language_model.layers…` as transformers 4 wrote it: `language_model.model.layers…`."""
    if key == "lm_head.weight":
        return "language_model.lm_head.weight"
    if key.startswith("model.language_model."):
        return key.replace("model.language_model.", "language_model.model.", 1)
    return key.removeprefix("model.")


def to_fp8(
    folder: Path, *, scale_dtype: torch.dtype = torch.bfloat16, scale_shape: tuple[int, ...] = ()
) -> dict[str, torch.Tensor]:
    """Store the decoder's linear layers as FP8, as Ministral 3 does; returns the state with dequantized weights."""
    file = folder / "consolidated.safetensors"
    state = load_file(file)
    dequantized = dict(state)
    for key in [key for key in state if key.startswith("layers.") and key.endswith(DECODER_LINEAR)]:
        scale = (state[key].float().abs().max() / 448).to(scale_dtype)
        numbers = (state[key].float() / scale.float()).clamp(-448, 448).to(torch.float8_e4m3fn)
        dequantized[key] = numbers.float() * scale.float()
        state |= {key: numbers, key.replace("weight", "qscale_weight"): scale.reshape(scale_shape),
                  key.replace("weight", "qscale_act"): torch.tensor(1.0)}  # fmt: skip
    save_file(state, file)
    params = json.loads((folder / "params.json").read_text())
    quantization = {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}
    (folder / "params.json").write_text(json.dumps({**params, "quantization": quantization}))
    return dequantized


def tokenizer_json(tekken: dict[str, Any], *, merges: bool = True) -> dict[str, Any]:
    """A tekken.json as the tokenizer.json that transformers' converter makes of it."""
    config = tekken["config"]
    count = config["default_num_special_tokens"]
    vocab = tekken["vocab"][: config["default_vocab_size"] - count]
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in visible]
    printable = [chr(byte) if byte in visible else chr(256 + others.index(byte)) for byte in range(256)]
    data = [base64.b64decode(token["token_bytes"]) for token in vocab]
    ranks = {each: rank for rank, each in enumerate(data)}
    pairs = [
        [_printed(printable, each[:at]), _printed(printable, each[at:])]
        for each in (data if merges else ())
        for at in range(1, len(each))
        if each[:at] in ranks and each[at:] in ranks
    ]
    specials = tekken.get("special_tokens") or Tekkenizer.DEPRECATED_SPECIAL_TOKENS
    names = [token["token_str"] for token in specials]
    names += [f"<SPECIAL_{rank}>" for rank in range(len(names), count)]
    split = {"type": "Split", "pattern": {"Regex": config["pattern"]}, "behavior": "Isolated", "invert": False}
    return {
        "added_tokens": [{"id": rank, "content": name, "special": True} for rank, name in enumerate(names)],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, {"type": "ByteLevel"}]},
        "model": {
            "type": "BPE", "merges": pairs,
            "vocab": {name: rank for rank, name in enumerate(names)}
            | {_printed(printable, each): count + rank for rank, each in enumerate(data)},
        },
    }  # fmt: skip


def _printed(printable: list[str], data: bytes) -> str:
    return "".join(printable[byte] for byte in data)
