"""A fast batched twin of mistral_inference's Pixtral, with the same parameter names, for training.

Rotary pairs are the two halves of a head (contiguous, so quicker); `export` reorders the rows of wq and wk to the interleaved
pairs that mistral_inference expects. Attention is a plain matrix product on the CPU, where SDPA's backward is slower, and is
computed for stretches of the sequence with only the keys that a stretch may look at.
"""

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo import fused
from demo.drawing.canvas import CHARACTERS, KINDS, SUBCOLUMNS
from demo.drawing.palette import NAMES
from demo.tokenizer import IMG

POSITIONS = 4096


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the two transformers. Growing keeps dims and heads; layers and hidden sizes may rise."""

    vision_dim: int = 160
    vision_layers: int = 4
    vision_heads: int = 5
    vision_hidden: int = 448
    dim: int = 192
    layers: int = 4
    heads: int = 6
    kv_heads: int = 6
    hidden: int = 512
    vision_theta: float = 100.0
    theta: float = 10_000.0

    def record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Look:
    """What the queries `start` to `stop` may look at: the keys before `prefix` and those from `low` to `stop`.

    `mask` [B or 1, 1, queries, keys] is 0 where one may look and -inf where not.
    """

    start: int
    stop: int
    prefix: int
    low: int
    mask: Tensor

    def keys(self, x: Tensor) -> Tensor:
        """The part of [B, H, T, D] that is looked at."""
        if self.low <= self.prefix:
            return x[:, :, : self.stop]
        return torch.cat((x[:, :, : self.prefix], x[:, :, self.low : self.stop]), 2)


@dataclass(frozen=True, slots=True)
class Picked:
    """The places [B, M] whose last hidden states are wanted, and a mask [B, 1, M, T] of what each may look at."""

    at: Tensor
    mask: Tensor

    def of(self, x: Tensor) -> Tensor:
        return x.gather(1, self.at[..., None].expand(-1, -1, x.shape[-1]))


class Norm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return fused.parts.norm(x, self.weight)


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, dim // heads
        self.wq = nn.Linear(dim, dim, bias=False)
        self.wk = nn.Linear(dim, kv_heads * self.head_dim, bias=False)
        self.wv = nn.Linear(dim, kv_heads * self.head_dim, bias=False)
        self.wo = nn.Linear(dim, dim, bias=False)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, looks: Sequence[Look] = (), picked: Picked | None = None
    ) -> Tensor:
        """Of every token, or of the picked ones alone; without `looks` each token looks at all."""
        asking = x if picked is None else picked.of(x)
        turns = (cos, sin) if picked is None else (picked.of(cos[:, 0])[:, None], picked.of(sin[:, 0])[:, None])
        q = fused.parts.rotate(
            self._heads(self.wq(asking), self.heads), *(table * self.head_dim**-0.5 for table in turns)
        )
        k, v = (
            fused.parts.rotate(self._heads(self.wk(x), self.kv_heads), cos, sin),
            self._heads(self.wv(x), self.kv_heads),
        )
        if self.kv_heads != self.heads:
            k, v = (one.repeat_interleave(self.heads // self.kv_heads, 1) for one in (k, v))
        if picked is not None:
            mixed = attend(q, k, v, picked.mask)
        elif looks:
            parts = [attend(q[:, :, a.start : a.stop], a.keys(k), a.keys(v), a.mask) for a in looks]
            mixed = torch.cat(parts, 2)
        else:
            mixed = attend(q, k, v, None)
        return self.wo(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def scores(self, x: Tensor, cos: Tensor, sin: Tensor, picked: Picked) -> Tensor:
        """What the first head's queries of the picked tokens make of every token, ahead of the softmax: [B, M, T]."""
        n, turns = self.head_dim, [picked.of(table[:, 0]) * self.head_dim**-0.5 for table in (cos, sin)]
        q = fused.parts.rotate(F.linear(picked.of(x), self.wq.weight[:n]), turns[0], turns[1])
        k = fused.parts.rotate(F.linear(x, self.wk.weight[:n]), cos[:, 0], sin[:, 0])
        return q @ k.transpose(1, 2)

    def _heads(self, x: Tensor, heads: int) -> Tensor:
        return x.view(x.shape[0], x.shape[1], heads, self.head_dim).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention of queries that are scaled already."""
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, mask, scale=1.0)
    weights = q @ k.transpose(-1, -2)
    if mask is not None:
        weights = weights + mask
    return torch.softmax(weights, -1) @ v


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(fused.parts.gate(self.w1(x), self.w3(x)))  # type: ignore[no-any-return]


class Block(nn.Module):
    def __init__(self, dim: int, hidden: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, kv_heads)
        self.feed_forward = FeedForward(dim, hidden)
        self.attention_norm = Norm(dim)
        self.ffn_norm = Norm(dim)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, looks: Sequence[Look] = (), picked: Picked | None = None
    ) -> Tensor:
        seen = self.attention(self.attention_norm(x), cos, sin, looks, picked)
        x = (x if picked is None else picked.of(x)) + seen
        return x + self.feed_forward(self.ffn_norm(x))  # type: ignore[no-any-return]


class VisionLayers(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        heads = shape.vision_heads
        self.layers = nn.ModuleList(
            Block(shape.vision_dim, shape.vision_hidden, heads, heads) for _ in range(shape.vision_layers)
        )


class Vision(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.patch_conv = nn.Conv2d(3, shape.vision_dim, 16, 16, bias=False)
        self.ln_pre = Norm(shape.vision_dim)
        self.transformer = VisionLayers(shape)


class Adapter(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.w_in = nn.Linear(shape.vision_dim, shape.dim)
        self.w_out = nn.Linear(shape.dim, shape.dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_out(F.gelu(self.w_in(x)))  # type: ignore[no-any-return]


class Twin(nn.Module):
    """Parameters named as in the checkpoint, and two `aux_` heads used in training alone."""

    def __init__(self, shape: Shape, vocabulary: int) -> None:
        super().__init__()
        self.shape, self.vocabulary = shape, vocabulary
        self.tok_embeddings = nn.Embedding(vocabulary, shape.dim)
        self.vision_encoder = Vision(shape)
        self.vision_language_adapter = Adapter(shape)
        self.layers = nn.ModuleDict(
            {str(i): Block(shape.dim, shape.hidden, shape.heads, shape.kv_heads) for i in range(shape.layers)}
        )
        self.norm = Norm(shape.dim)
        self.aux_patch = nn.Linear(shape.dim, sum(label_sizes()))
        self.aux_place = nn.Linear(shape.dim, 32 + 32)
        self._initialise()

    def _initialise(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.ndim >= 2:
                nn.init.normal_(parameter, 0, parameter[0].numel() ** -0.5)
                if name.endswith(("wo.weight", "w2.weight")):
                    parameter.data.mul_(0.3)
        nn.init.normal_(self.tok_embeddings.weight, 0, 2 / self.shape.dim**0.5)
        nn.init.normal_(self.aux_patch.weight, 0, 0.02)

    def only_eyes(self) -> None:
        """From now on learn what sees, and nothing else."""
        self.requires_grad_(False)
        for part in (self.vision_encoder, self.vision_language_adapter, self.aux_patch):
            part.requires_grad_(True)

    def see(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Features [B, N, dim] of pictures given as patches [B, N, 768] in reading order; grid is (columns, rows)."""
        encoder = self.vision_encoder
        x = encoder.ln_pre(F.linear(patches.to(self.norm.weight.dtype), encoder.patch_conv.weight.flatten(1)))
        head = self.shape.vision_dim // self.shape.vision_heads
        cos, sin = (_as(table, x) for table in _plane(grid, head, self.shape.vision_theta))
        for block in encoder.transformer.layers:
            x = block(x, cos, sin)
        return self.vision_language_adapter(x)  # type: ignore[no-any-return]

    def read(
        self,
        ids: Tensor,
        positions: Tensor,
        looks: Sequence[Look],
        features: list[Tensor],
        picked: Picked | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Hidden states at the end, [B, T, dim] or of the picked places alone; half way (for the place head).

        And where the last layer's first head points from the picked places: `Attention.scores`, None without them.

        `features` in the order of the pictures.
        """
        x = self.tok_embeddings(ids)
        if features:
            x = x.masked_scatter((ids == IMG)[..., None], torch.cat(features, 1).to(x.dtype))
        head = self.shape.dim // self.shape.heads
        cos, sin = (_as(table.to(ids.device)[positions][:, None], x) for table in _track(head, self.shape.theta))
        middle, scores = x, None
        looks = [replace(look, mask=_as(look.mask, x)) for look in looks]
        if picked is not None:
            picked = replace(picked, mask=_as(picked.mask, x))
        for i, block in enumerate(self.layers.values(), 1):
            if picked is not None and i == self.shape.layers:
                assert isinstance(block, Block)
                scores = block.attention.scores(block.attention_norm(x), cos, sin, picked)
            x = block(x, cos, sin, looks, picked if i == self.shape.layers else None)
            if i == self.shape.layers // 2:
                middle = x
        return self.norm(x), middle, scores

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.tok_embeddings.weight)


def label_sizes() -> tuple[int, ...]:
    """Classes of the auxiliary labels of a patch: kind, colour, and the character in each subcolumn."""
    return (len(KINDS), len(NAMES) + 1, *(len(CHARACTERS) for _ in SUBCOLUMNS))


def _as(table: Tensor, x: Tensor) -> Tensor:
    return table.to(x.device, torch.bfloat16 if torch.is_autocast_enabled(x.device.type) else x.dtype)


@functools.lru_cache(maxsize=4)
def _track(head: int, theta: float) -> tuple[Tensor, Tensor]:
    turns = torch.outer(torch.arange(POSITIONS).float(), theta ** -(torch.arange(0, head, 2).float() / head))
    return turns.cos(), turns.sin()


@functools.lru_cache(maxsize=300)
def _plane(grid: tuple[int, int], head: int, theta: float) -> tuple[Tensor, Tensor]:
    """Rotations by row (even frequencies) and column (odd ones) for patches in reading order."""
    columns, rows = grid
    speeds = theta ** -(torch.arange(0, head, 2).float() / head)
    down, across = (
        torch.outer(torch.arange(rows).float(), speeds[::2]),
        torch.outer(torch.arange(columns).float(), speeds[1::2]),
    )
    turns = torch.cat((down[:, None].expand(rows, columns, -1), across[None].expand(rows, columns, -1)), -1).flatten(
        0, 1
    )
    return turns.cos(), turns.sin()
