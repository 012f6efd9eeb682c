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
from tests.engines.local.family import DECODER_LINEAR

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
FP8_SUFFIX = "-fp8"
LARGE = ("slice", "pixtral-12b", "ministral-3b", "ministral-3b-fp8")
FP8_SCALE = 2.0**-6  # of random numbers in FP8: the largest that are drawn are kept
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
    if name in LARGE:
        return write_large(RANDOM[name.removesuffix(FP8_SUFFIX)], folder, fp8=name.endswith(FP8_SUFFIX))
    if name != "demo":
        return build(folder, RANDOM[name], dtype=torch.bfloat16)
    folder.mkdir()
    for file in FILES:
        shutil.copy(DEMO / file, folder)
    return folder


def write_large(sizes: Sizes, folder: Path, *, fp8: bool = False) -> Path:
    """A checkpoint that need not fit into memory: tensor by tensor, out of one pool of random numbers.

    `fp8` stores the decoder's linear layers as Ministral 3 does: in one byte a weight, with a scale for each matrix.
    """
    folder.mkdir()
    quantization = {"quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}} if fp8 else {}
    (folder / "params.json").write_text(json.dumps(sizes.params | quantization))
    (folder / "tekken.json").write_text(json.dumps(cut_tekken(sizes)))
    shapes = {key: tuple(value.shape) for key, value in upstream.empty_transformer(sizes.params).state_dict().items()}
    if sizes.tied:
        del shapes["output.weight"]
    tensors: dict[str, _Tensor] = {}
    for key, shape in shapes.items():
        if fp8 and key.startswith("layers.") and key.endswith(DECODER_LINEAR):
            tensors[key] = _Tensor("F8_E4M3", shape)
            tensors[key.replace("weight", "qscale_weight")] = _Tensor("F32", (), FP8_SCALE / math.sqrt(shape[1]))
        else:
            tensors[key] = _Tensor("BF16", shape)
    ends = list(accumulate((tensor.size for tensor in tensors.values()), initial=0))
    header = json.dumps({
        key: {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end]}
        for (key, tensor), (start, end) in zip(tensors.items(), pairwise(ends), strict=True)
    }).encode()  # fmt: skip
    pool = torch.randn(POOL, generator=torch.Generator().manual_seed(0))
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for tensor in tensors.values():
            for part in tensor.parts(pool):
                file.write(part.view(torch.uint8).numpy().data)
    return folder


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor of a safetensors file: random, or the number `value`."""

    dtype: str
    shape: tuple[int, ...]
    value: float | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape) * {"BF16": 2, "F8_E4M3": 1, "F32": 4}[self.dtype]

    def parts(self, pool: torch.Tensor) -> Iterator[torch.Tensor]:
        """Its numbers, piece by piece: a matrix keeps the size of what it multiplies, a vector is of ones."""
        if self.value is not None:
            yield torch.tensor([self.value])
            return
        if self.dtype == "F8_E4M3":
            numbers = (pool / FP8_SCALE).clamp(-448, 448).to(torch.float8_e4m3fn)
        else:
            width = math.prod(self.shape[1:])
            numbers = (pool / math.sqrt(width) if len(self.shape) > 1 else torch.ones_like(pool)).bfloat16()
        for start in range(0, math.prod(self.shape), POOL):
            count = min(POOL, math.prod(self.shape) - start)
            yield numbers.roll(start // POOL)[:count]


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
