"""The demo checkpoint as a repository in transformers' format: what it answers shows that all of it was read aright."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from pixtral_cli.models import names
from tests.engines.local.checkpoints import Sizes
from tests.engines.local.family import hub_name, tokenizer_json, transformers_state

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def transformers_demo(*, parts: int = 2, tekken: bool = False) -> dict[str, bytes]:
    """The files: shards with their index or (`parts` 1) one of weights, and tokenizer.json unless `tekken`."""
    folder = names.demo_folder()
    params = json.loads((folder / "params.json").read_text())
    vision = params["vision_encoder"]
    sizes = Sizes(
        head_dim=params["head_dim"], vision_dim=vision["hidden_size"], vision_heads=vision["num_attention_heads"]
    )
    stored = transformers_state(load_file(folder / "consolidated.safetensors"), sizes)
    state = {hub_name(key): tensor.contiguous() for key, tensor in stored.items()}
    tokenizer = (folder / "tekken.json").read_bytes()
    files = {
        "config.json": json.dumps(config_of(params)).encode(),
        "README.md": b"# A demo",
        "generation_config.json": b"{}",
    }
    files |= (
        {"tekken.json": tokenizer}
        if tekken
        else {"tokenizer.json": json.dumps(tokenizer_json(json.loads(tokenizer))).encode()}
    )
    return files | (_sharded(state) if parts > 1 else {"model.safetensors": save(state)})


def _sharded(state: dict[str, torch.Tensor]) -> dict[str, bytes]:
    shards = {file: sorted(state)[part::2] for part, file in enumerate(SHARDS)}
    weight_map = {key: file for file, keys in shards.items() for key in keys}
    index = json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    return {"model.safetensors.index.json": index} | {
        file: save({key: state[key] for key in keys}) for file, keys in shards.items()
    }


def config_of(params: dict[str, Any]) -> dict[str, Any]:
    """A config.json as mistral-community/pixtral-12b has it."""
    vision = params["vision_encoder"]
    return {
        "architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "image_token_index": 10,
        "projector_hidden_act": "gelu", "vision_feature_layer": -1, "vision_feature_select_strategy": "full",
        "text_config": {
            "model_type": "mistral", "hidden_size": params["dim"], "head_dim": params["head_dim"],
            "intermediate_size": params["hidden_dim"], "num_hidden_layers": params["n_layers"],
            "num_attention_heads": params["n_heads"], "num_key_value_heads": params["n_kv_heads"],
            "rms_norm_eps": params["norm_eps"], "rope_theta": params["rope_theta"], "vocab_size": params["vocab_size"],
            "sliding_window": None, "max_position_embeddings": 1_024_000,
        },
        "vision_config": {
            "model_type": "pixtral", "hidden_act": "silu", "hidden_size": vision["hidden_size"],
            "intermediate_size": vision["intermediate_size"], "num_hidden_layers": vision["num_hidden_layers"],
            "num_attention_heads": vision["num_attention_heads"], "image_size": vision["image_size"],
            "patch_size": vision["patch_size"], "rope_theta": vision["rope_theta"],
        },
    }  # fmt: skip


def write(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
