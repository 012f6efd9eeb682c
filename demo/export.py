"""A trained twin as a checkpoint in mistral format: params.json, consolidated.safetensors, tekken.json, SHA256SUMS.

python -m demo.export runs/NAME FOLDER
"""

import argparse
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from demo.drawing.canvas import LIMIT, PATCH
from demo.fused import EPS
from demo.tokenizer import IMG
from demo.twin import Shape

FILES = ("consolidated.safetensors", "params.json", "tekken.json")


def params(shape: Shape, vocabulary: int) -> dict[str, Any]:
    vision = {
        "hidden_size": shape.vision_dim, "num_channels": 3, "image_size": LIMIT, "patch_size": PATCH,
        "intermediate_size": shape.vision_hidden, "num_hidden_layers": shape.vision_layers,
        "num_attention_heads": shape.vision_heads, "rope_theta": shape.vision_theta, "image_token_id": IMG,
    }  # fmt: skip
    return {
        "dim": shape.dim, "n_layers": shape.layers, "head_dim": shape.dim // shape.heads, "hidden_dim": shape.hidden,
        "n_heads": shape.heads, "n_kv_heads": shape.kv_heads, "norm_eps": EPS, "vocab_size": vocabulary,
        "rope_theta": shape.theta, "vision_encoder": vision,
    }  # fmt: skip


def shape_of(file: Mapping[str, Any]) -> Shape:
    """The inverse of `params`."""
    vision = file["vision_encoder"]
    return Shape(
        vision["hidden_size"], vision["num_hidden_layers"], vision["num_attention_heads"], vision["intermediate_size"],
        file["dim"], file["n_layers"], file["n_heads"], file["n_kv_heads"], file["hidden_dim"],
        vision["rope_theta"], file["rope_theta"],
    )  # fmt: skip


def interleaved(weight: Tensor, head: int) -> Tensor:
    """Rows of wq or wk from the twin's half-split pairs to neighbouring pairs."""
    return weight.view(-1, 2, head // 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def half_split(weight: Tensor, head: int) -> Tensor:
    """The inverse of `interleaved`."""
    return weight.view(-1, head // 2, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def _turned(weights: Mapping[str, Tensor], shape: Shape, turn: Any) -> dict[str, Tensor]:
    heads = {True: shape.vision_dim // shape.vision_heads, False: shape.dim // shape.heads}
    return {
        name: turn(weight, heads[name.startswith("vision_encoder")])
        if name.endswith(("wq.weight", "wk.weight"))
        else weight
        for name, weight in weights.items()
    }


def export(weights: Mapping[str, Tensor], shape: Shape, tokenizer: Path, folder: Path) -> None:
    """Write the checkpoint in bf16 without the training heads; the embedding serves as output too."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {name: weight.detach().cpu() for name, weight in weights.items() if not name.startswith("aux_")}
    state = {name: weight.to(torch.bfloat16).contiguous() for name, weight in _turned(kept, shape, interleaved).items()}
    state["output.weight"] = state["tok_embeddings.weight"].clone()
    (folder / "params.json").write_text(json.dumps(params(shape, len(state["output.weight"])), indent=1) + "\n")
    part = folder / "consolidated.part"
    save_file(state, part)
    part.chmod(0o644)  # it is written for its owner alone, and goes into a package
    part.replace(folder / "consolidated.safetensors")
    if (folder / "tekken.json").resolve() != tokenizer.resolve():
        shutil.copy(tokenizer, folder / "tekken.json")
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def restore(folder: Path) -> tuple[Shape, dict[str, Tensor]]:
    """The twin's weights (fp32, without training heads) from an exported checkpoint."""
    shape = shape_of(json.loads((folder / "params.json").read_text()))
    state = load_file(folder / "consolidated.safetensors")
    del state["output.weight"]
    return shape, {name: weight.float() for name, weight in _turned(state, shape, half_split).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    state = torch.load(given.run / "state.pt", weights_only=True)
    export(state["average"], Shape(**state["shape"]), given.run / "tekken.json", given.folder)


if __name__ == "__main__":
    main()
