"""The checkpoints that are measured: the demo, and random ones with Pixtral's true tokenizer; and what computing with one takes."""

import json
import math
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch

from pixtral_cli.engines.local.config import Params, read_params
from pixtral_cli.engines.local.model import upstream
from tests.engines.local.checkpoints import Sizes, build, cut_tekken

DEMO = Path(__file__).parent.parent / "pixtral_cli" / "models" / "demo"
WEIGHTS = "consolidated.safetensors"
FILES = ("params.json", "tekken.json", WEIGHTS)

TRUE: dict[str, Any] = {  # the layers of Pixtral 12B
    "dim": 5120, "heads": 32, "kv_heads": 8, "head_dim": 128, "hidden": 14336, "vocab": 131072, "theta": 1e9,
    "vision_dim": 1024, "vision_heads": 16, "vision_hidden": 4096, "image": 1024,
}  # fmt: skip
RANDOM = {
    "random-200m": Sizes(
        dim=768, layers=12, heads=12, kv_heads=4, head_dim=64, hidden=2048, vocab=131072, theta=1e9,
        vision_dim=512, vision_layers=8, vision_heads=8, vision_hidden=1536, image=1024,
    ),
    "random-500m": Sizes(
        dim=1024, layers=16, heads=16, kv_heads=4, head_dim=64, hidden=4096, vocab=131072, theta=1e9,
        vision_dim=512, vision_layers=8, vision_heads=8, vision_hidden=1536, image=1024,
    ),
    "slice": Sizes(**TRUE, layers=2, vision_layers=2),
    "pixtral-12b": Sizes(**TRUE, layers=40, vision_layers=24),
    "ministral-3b": Sizes(
        **{**TRUE, "dim": 3072, "hidden": 9216, "theta": 1e6, "image": 1540}, patch=14, layers=26, vision_layers=24, merge=2, tied=True,
    ),
}  # fmt: skip
POOL = 1 << 22  # random numbers, of which large checkpoints are made


@dataclass(frozen=True, slots=True)
class Shape:
    """The decoder's matrices: (out, in) of a layer's, how many layers, and of the output."""

    layer: tuple[tuple[int, int], ...]
    layers: int
    output: tuple[int, int]
    heads: int
    head_dim: int
    kv_heads: int

    @property
    def weights(self) -> int:
        """Of the layers: each is multiplied with every token of a prompt."""
        return self.layers * sum(out * width for out, width in self.layer)

    @property
    def kv_bytes(self) -> int:
        """Of one position in bf16."""
        return 2 * 2 * self.kv_heads * self.head_dim * self.layers

    def prefill(self, tokens: int) -> float:
        """Operations that reading a prompt of text takes: its products, and attention to all that stands before."""
        return 2.0 * self.weights * tokens + 2.0 * tokens**2 * self.heads * self.head_dim * self.layers


def shape(folder: Path) -> Shape:
    return shape_of(read_params(folder, folder.name))


def shape_of(p: Params) -> Shape:
    wide, narrow = p.n_heads * p.head_dim, p.n_kv_heads * p.head_dim
    attention = ((wide, p.dim), (narrow, p.dim), (narrow, p.dim), (p.dim, wide))
    feed_forward = ((p.hidden_dim, p.dim), (p.hidden_dim, p.dim), (p.dim, p.hidden_dim))
    output = (p.vocab_size, p.dim)
    return Shape(attention + feed_forward, p.n_layers, output, p.n_heads, p.head_dim, p.n_kv_heads)


def write(name: str, scratch: Path) -> Path:
    """The folder of a checkpoint by its name here, in `scratch`, in bf16."""
    folder = scratch / name
    if name in ("slice", "pixtral-12b", "ministral-3b"):
        return write_large(RANDOM[name], folder)
    if name != "demo":
        return build(folder, RANDOM[name], dtype=torch.bfloat16)
    folder.mkdir()
    for file in FILES:
        shutil.copy(DEMO / file, folder)
    return folder


def write_large(sizes: Sizes, folder: Path) -> Path:
    """A checkpoint that need not fit into memory: tensor by tensor, out of one pool of random numbers."""
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(sizes.params))
    (folder / "tekken.json").write_text(json.dumps(cut_tekken(sizes)))
    shapes = {key: tuple(value.shape) for key, value in upstream.empty_transformer(sizes.params).state_dict().items()}
    if sizes.tied:
        del shapes["output.weight"]
    ends = list(accumulate((2 * math.prod(shape) for shape in shapes.values()), initial=0))
    header = json.dumps({
        key: {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
        for (key, shape), (start, end) in zip(shapes.items(), pairwise(ends), strict=True)
    }).encode()  # fmt: skip
    pool = torch.randn(POOL, generator=torch.Generator().manual_seed(0))
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for shape in shapes.values():
            for part in _numbers(shape, pool):
                file.write(part.view(torch.uint8).numpy().data)
    return folder


def _numbers(shape: tuple[int, ...], pool: torch.Tensor) -> Iterator[torch.Tensor]:
    """A tensor's numbers in bf16, piece by piece: a matrix keeps the size of what it multiplies, a vector is of ones."""
    scaled = (pool / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else torch.ones_like(pool)).bfloat16()
    for start in range(0, math.prod(shape), POOL):
        count = min(POOL, math.prod(shape) - start)
        yield scaled.roll(start // POOL)[:count]


def described(folder: Path, other: Path) -> Path:
    """The same checkpoint in another folder, its params.json as llama.cpp's converter wants it."""
    other.mkdir()
    params = json.loads((folder / "params.json").read_text())
    params.setdefault("max_seq_len", 128_000)
    params.setdefault(
        "max_position_embeddings", params["max_seq_len"]
    )  # another part of the converter asks for this name
    params["vision_encoder"].setdefault("image_break_token_id", 12)
    (other / "params.json").write_text(json.dumps(params))
    for file in FILES[1:]:
        (other / file).symlink_to(folder / file)
    return other
