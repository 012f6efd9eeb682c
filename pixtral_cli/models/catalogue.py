"""The models that have a short name: their sizes, licences, downloads and memory.

Sizes are those of each repository's params.json; parameters and bytes are computed from them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

CONTEXT_TOKENS = 8192  # tokens of KV cache that must fit beside the weights
WORKING_BYTES = 1 << 30  # bytes of intermediate results
TOKENIZER_BYTES = 17_000_000  # bytes of tekken.json
BITS_PER_WEIGHT = {"none": 16.0, "8bit": 8.0, "4bit": 4.25}  # of a packed weight and its share of a scale
APACHE, RESEARCH = "Apache 2.0", "Mistral Research License"


@dataclass(frozen=True, slots=True)
class Vision:
    """Sizes of a vision encoder; `merge` squared patches become one image token."""

    hidden: int = 1024
    intermediate: int = 4096
    layers: int = 24
    patch: int = 14
    merge: int = 2

    def parameters(self, dim: int) -> int:
        """Number of parameters of the encoder and of the adapter to a decoder of width `dim`."""
        hidden = self.hidden
        layer = 4 * hidden**2 + 3 * hidden * self.intermediate + 2 * hidden
        merger = hidden**2 * self.merge**2 + hidden if self.merge > 1 else 0
        adapter = hidden * dim + dim**2 + (0 if self.merge > 1 else 2 * dim)  # only Pixtral's has biases
        return self.layers * layer + 3 * self.patch**2 * hidden + hidden + merger + adapter


PIXTRAL = Vision(patch=16, merge=1)


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a decoder and its vision encoder.

    `hidden`: width of the feed-forward layers; `tied`: one matrix embeds and projects.
    """

    dim: int
    layers: int
    hidden: int
    heads: int = 32
    kv_heads: int = 8
    head_dim: int = 128
    vocabulary: int = 131_072
    tied: bool = False
    vision: Vision | None = field(default_factory=Vision)

    @property
    def linear_weights(self) -> int:
        """Number of weights in the decoder's linear layers, which `--quantize` packs and FP8 models store in 8 bits."""
        return (
            self.layers
            * self.dim
            * (2 * self.heads * self.head_dim + 2 * self.kv_heads * self.head_dim + 3 * self.hidden)
        )

    @property
    def parameters(self) -> int:
        """Number of parameters, the vision encoder's included."""
        embeddings = self.vocabulary * self.dim * (1 if self.tied else 2)
        norms = self.dim * (2 * self.layers + 1)
        return self.linear_weights + embeddings + norms + (self.vision.parameters(self.dim) if self.vision else 0)

    @property
    def token_bytes(self) -> int:
        """Bytes of KV cache of one token, in 16 bits."""
        return self.layers * 2 * self.kv_heads * self.head_dim * 2

    def weights(self, quantize: str = "none") -> int:
        """Bytes of the weights in memory."""
        return int(2 * (self.parameters - self.linear_weights) + self.linear_weights * BITS_PER_WEIGHT[quantize] / 8)

    def memory(self, quantize: str = "none", tokens: int = CONTEXT_TOKENS) -> int:
        """Bytes of the weights, of the KV cache of `tokens` tokens and of intermediate results."""
        return self.weights(quantize) + tokens * self.token_bytes + WORKING_BYTES

    def bytes_read_per_token(self, quantize: str = "none", tokens: int = CONTEXT_TOKENS // 2) -> int:
        """Bytes read from memory to decode a token after `tokens` others: layers, output matrix and KV cache."""
        return (
            int(self.linear_weights * BITS_PER_WEIGHT[quantize] / 8)
            + 2 * self.vocabulary * self.dim
            + tokens * self.token_bytes
        )

    def widest_format(self, budget: int) -> str:
        """The widest format that fits into `budget` bytes: "none" (16 bits), "8bit" or "4bit"; "" for none."""
        return next((name for name in BITS_PER_WEIGHT if self.memory(name) <= budget), "")

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> "Shape | None":
        """The shape that the content of a params.json describes; None when a size is missing or not a number."""
        vision = params.get("vision_encoder") or {}
        try:
            encoder = Vision(
                vision["hidden_size"], vision["intermediate_size"], vision["num_hidden_layers"], vision["patch_size"],
                vision.get("spatial_merge_size") or 1,
            ) if vision else None  # fmt: skip
            return cls(
                dim=int(params["dim"]), layers=int(params["n_layers"]), hidden=int(params["hidden_dim"]),
                heads=int(params["n_heads"]), kv_heads=int(params["n_kv_heads"]), head_dim=int(params["head_dim"]),
                vocabulary=int(params["vocab_size"]), tied=bool(params.get("tied_embeddings")), vision=encoder,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


@dataclass(frozen=True, slots=True)
class Entry:
    """A model with a short name. `temperature` is what its vendor recommends; `fp8`: the repository holds FP8 weights.

    `gated`: its terms must be accepted on the hub. `reasoning`: it thinks before it answers. `needs`: keys of its
    params.json, beyond those of Pixtral, that an engine must support.
    """

    name: str
    repo: str
    about: str
    shape: Shape
    temperature: float
    licence: str = APACHE
    gated: bool = False
    fp8: bool = False
    reasoning: bool = False
    needs: tuple[str, ...] = ()

    @property
    def download(self) -> int:
        """Approximate bytes of a download."""
        return self.shape.weights("8bit" if self.fp8 else "none") + TOKENIZER_BYTES


_SMALL = Shape(5120, 40, 32_768)
_SIZES = {
    "3b": Shape(3072, 26, 9216, tied=True),
    "8b": Shape(4096, 34, 14_336),
    "14b": Shape(5120, 40, 16_384),
}
_SCALED = ("yarn", "llama_4_scaling")


def _ministral(size: str) -> Entry:
    repo, about = f"mistralai/Ministral-3-{size.upper()}-Instruct-2512", "small and new, for laptops"
    return Entry(f"ministral-{size}", repo, about, _SIZES[size], 0.05, fp8=True, needs=(*_SCALED, "quantization"))


def _ministral_reasoning(size: str) -> Entry:
    repo, about = f"mistralai/Ministral-3-{size.upper()}-Reasoning-2512", "thinks before it answers"
    return Entry(f"ministral-{size}-reasoning", repo, about, _SIZES[size], 0.7, reasoning=True, needs=_SCALED)


# The best first, judged by size and year; reasoning models come last.
CATALOGUE: tuple[Entry, ...] = (
    Entry(
        "pixtral-large", "mistralai/Pixtral-Large-Instruct-2411", "the largest",
        Shape(12_288, 88, 28_672, heads=96, vocabulary=32_768, vision=Vision(1408, 6144, 40, 16, 1)),
        0.35, RESEARCH, gated=True,
    ),
    Entry("mistral-small-3.2", "mistralai/Mistral-Small-3.2-24B-Instruct-2506", "for a large GPU", _SMALL, 0.15),
    Entry("mistral-small-3.1", "mistralai/Mistral-Small-3.1-24B-Instruct-2503", "3.2's forerunner", _SMALL, 0.15),
    _ministral("14b"),
    _ministral("8b"),
    Entry(
        "pixtral-12b", "mistralai/Pixtral-12B-2409", "the first of the family",
        Shape(5120, 40, 14_336, vision=PIXTRAL), 0.35, gated=True,
    ),
    _ministral("3b"),
    Entry("magistral-small", "mistralai/Magistral-Small-2509", "thinks before it answers", _SMALL, 0.7, reasoning=True),
    _ministral_reasoning("14b"),
    _ministral_reasoning("8b"),
    _ministral_reasoning("3b"),
)  # fmt: skip
BY_NAME = {entry.name: entry for entry in CATALOGUE}
BY_REPO = {entry.repo: entry for entry in CATALOGUE}


def find(name: str) -> Entry | None:
    """The entry of a short name or a repository, with or without `@revision`; None for any other name."""
    base = name.partition("@")[0]
    return BY_NAME.get(base) or BY_REPO.get(base)


def recommended(budget: int, unknown: Iterable[str] = ()) -> Entry | None:
    """The best model that fits into `budget` bytes, or None.

    `unknown`: keys of params.json that the engine does not support.
    """
    return next(fitting(budget, unknown), None)


def fitting(budget: int, unknown: Iterable[str] = ()) -> Iterator[Entry]:
    """The models that fit into `budget` bytes, the best first, reasoning models last. `unknown`: as for `recommended`."""
    refused = {*unknown}
    return (entry for entry in CATALOGUE if entry.shape.widest_format(budget) and not refused & {*entry.needs})
