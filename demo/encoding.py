"""Samples to arrays: the chat template as mistral_common writes it, targets, positions, and which tokens see which.

Conversations that share their pictures become branches: each sees the pictures and itself, at the positions it would have alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from demo import families
from demo.drawing import sizes
from demo.drawing.canvas import PATCH, Pixels, fit
from demo.samples import Sample, Turn
from demo.tokenizer import BOS, EOS, IMG, IMG_BREAK, IMG_END, INST, INST_END, PAD, Tokenizer

MEAN = np.array((0.48145466, 0.4578275, 0.40821073), np.float32)
STD = np.array((0.26862954, 0.26130258, 0.27577711), np.float32)

cv2.setNumThreads(1)


@dataclass(slots=True)
class Encoded:
    """One sample. `branch` is 0 for what all see; `target` marks positions whose next token is part of an answer."""

    ids: list[int]
    positions: list[int]
    branch: list[int]
    target: list[bool]
    answers: list[
        tuple[int, int, Turn, bool]
    ]  # first target position, one past the last, the turn, whether it opens a talk

    @classmethod
    def empty(cls) -> "Encoded":
        return cls([], [], [], [], [])

    def add(self, ids: Sequence[int], branch: int, start: int) -> int:
        """Append tokens of a branch from position `start` on; the position after them."""
        self.ids.extend(ids)
        self.positions.extend(range(start, start + len(ids)))
        self.branch.extend([branch] * len(ids))
        self.target.extend([False] * len(ids))
        return start + len(ids)


@dataclass(slots=True)
class Batch:
    """Samples of one family with pictures of the same grids. Shapes: patches [B, N, 768], labels [B, N, 5], the rest [B, T]."""

    family: str
    grids: list[tuple[int, int]]
    patches: list[torch.Tensor]
    labels: list[torch.Tensor]
    ids: torch.Tensor
    positions: torch.Tensor
    branch: torch.Tensor
    target: torch.Tensor
    places: torch.Tensor  # of image tokens: row * 32 + column, else -1
    answers: list[list[tuple[int, int, Turn, bool]]]


def image_ids(grid: tuple[int, int]) -> list[int]:
    ids = ([IMG] * grid[0] + [IMG_BREAK]) * grid[1]
    ids[-1] = IMG_END
    return ids


def patches(pixels: Pixels, grid: tuple[int, int]) -> NDArray[np.float32]:
    """[N, 3 * 16 * 16] in reading order, normalised as mistral_common does."""
    columns, rows = grid
    wide = (fit(pixels, grid) / np.float32(255) - MEAN) / STD
    cut = wide.reshape(rows, PATCH, columns, PATCH, 3).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(cut.reshape(rows * columns, 3 * PATCH * PATCH), np.float32)


def encode(sample: Sample, tokenizer: Tokenizer) -> Encoded:
    done = Encoded.empty()
    grids = [picture.grid for picture in sample.pictures]
    if not sample.shared:
        start = done.add([BOS], 0, 0)
        _talk(done, sample.conversations[0], tokenizer, grids, 0, start, sample.system, opened=False)
        return done
    start = done.add([BOS, INST], 0, 0)
    for grid in grids:
        start = done.add(image_ids(grid), 0, start)
    for branch, conversation in enumerate(sample.conversations, 1):
        _talk(done, conversation, tokenizer, grids, branch, start, None, opened=True)
    return done


def _talk(
    done: Encoded, turns: Sequence[Turn], tokenizer: Tokenizer, grids: list[tuple[int, int]], branch: int, start: int,
    system: str | None, *, opened: bool,
) -> None:  # fmt: skip
    """One conversation; `opened` when its first [INST] and the pictures stand already."""
    for i, turn in enumerate(turns):
        if i or not opened:
            start = done.add([INST], branch, start)
        if system and i == len(turns) - 1:
            start = done.add(tokenizer.encode(f"{system}\n\n"), branch, start)
        for piece in _pieces(turn, tokenizer, grids):
            start = done.add(piece, branch, start)
        start = done.add([INST_END], branch, start)
        first = len(done.ids) - 1
        start = done.add([*tokenizer.encode(turn.answer), EOS], branch, start)
        done.target[first:] = [True] * (len(done.ids) - first - 1) + [False]
        done.answers.append((first, len(done.ids) - 1, turn, i == 0))


def _pieces(turn: Turn, tokenizer: Tokenizer, grids: list[tuple[int, int]]) -> list[Sequence[int]]:
    """A user message: its pictures before the text or within it."""
    shown = [image_ids(grids[i]) for i in turn.images]
    if not shown or turn.at is None:
        return [*shown, tokenizer.encode(turn.question)]
    ahead, behind = turn.question[: turn.at], turn.question[turn.at :]
    return [tokenizer.encode(ahead), *shown, tokenizer.encode(behind)]


def collate(samples: Sequence[Sample], tokenizer: Tokenizer) -> Batch:
    encoded = [encode(sample, tokenizer) for sample in samples]
    width = max(len(one.ids) for one in encoded)
    shape = len(samples), width
    ids, positions = np.full(shape, PAD, np.int64), np.zeros(shape, np.int64)
    branch, target = np.full(shape, -1, np.int64), np.zeros(shape, bool)
    for row, one in enumerate(encoded):
        n = len(one.ids)
        ids[row, :n], positions[row, :n], branch[row, :n], target[row, :n] = (
            one.ids,
            one.positions,
            one.branch,
            one.target,
        )
    grids = [picture.grid for picture in samples[0].pictures]
    stacks = [np.stack([patches(s.pictures[i].pixels, grids[i]) for s in samples]) for i in range(len(grids))]
    labels = [np.stack([s.pictures[i].labels for s in samples]) for i in range(len(grids))]
    return Batch(
        samples[0].family, grids, [torch.from_numpy(stack).bfloat16() for stack in stacks],
        [torch.from_numpy(label.astype(np.int64)) for label in labels],
        torch.from_numpy(ids), torch.from_numpy(positions), torch.from_numpy(branch), torch.from_numpy(target),
        torch.from_numpy(_places(ids, grids)), [one.answers for one in encoded],
    )  # fmt: skip


def _places(ids: NDArray[np.int64], grids: list[tuple[int, int]]) -> NDArray[np.int64]:
    """Row and column of every image token, breaks included, for the head that learns to count them."""
    flat = [row * 32 + column for columns, rows in grids for row in range(rows) for column in range(columns + 1)]
    places = np.full(ids.shape, -1, np.int64)
    inside = (ids == IMG) | (ids == IMG_BREAK) | (ids == IMG_END)
    places[inside] = np.tile(np.asarray(flat, np.int64), len(ids))
    return places


def mask(branch: torch.Tensor) -> torch.Tensor:
    """[B, 1, T, T], 0 where a token may look and -inf where not: earlier tokens of its own branch and of branch 0."""
    same = (branch[:, :, None] == branch[:, None, :]) | (branch[:, None, :] == 0)
    seen = same & torch.ones(branch.shape[1], branch.shape[1], dtype=torch.bool).tril()
    return torch.zeros(seen.shape).masked_fill(~seen, float("-inf"))[:, None]


def draw_batch(rng: Random, tokenizer: Tokenizer, size: int, name: str | None = None) -> Batch:
    """`size` samples of one family, their pictures on the same grids."""
    name = name or families.choose(rng)
    shared = rng.random() > 0.14
    model = families.FAMILIES[name].sizes(rng)
    samples = [families.draw(rng, name, [sizes.like(rng, one) for one in model], shared=shared) for _ in range(size)]
    return collate(samples, tokenizer)
