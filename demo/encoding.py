"""Samples to arrays: the chat template as mistral_common writes it, targets, positions, and which tokens see which.

Conversations that share their pictures become branches: each sees the pictures and itself, at the positions it would have alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from demo import families
from demo.drawing import sizes
from demo.drawing.canvas import PATCH, Pixels, fit
from demo.drawing.palette import NAMES
from demo.samples import Sample, Turn
from demo.tokenizer import BOS, EOS, IMG, IMG_BREAK, IMG_END, INST, INST_END, PAD, Tokenizer
from demo.twin import Look, Picked

MEAN = np.array((0.48145466, 0.4578275, 0.40821073), np.float32)
STD = np.array((0.26862954, 0.26130258, 0.27577711), np.float32)
IN_PARTS = (
    "bars",
    "lines",
    "runs",
    "sketch",
)  # families with print, half of whose batches are as small as print allows
POINTING = frozenset(
    ("run colour", "run place", "run wrong by name", "run does by name", "run step by name", "run better")
)
PREFIX_STRETCH, STRETCH = 112, 56  # tokens for which attention is computed at once

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
    points: torch.Tensor  # [n, 3]: row, the place whose next token is the asked run's colour, that colour's label


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
        if turn.learned:
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
        torch.from_numpy(_places(ids, grids)), [one.answers for one in encoded], _points(encoded, tokenizer),
    )  # fmt: skip


def _places(ids: NDArray[np.int64], grids: list[tuple[int, int]]) -> NDArray[np.int64]:
    """Row and column of every image token, breaks included, for the head that learns to count them."""
    flat = [row * 32 + column for columns, rows in grids for row in range(rows) for column in range(columns + 1)]
    places = np.full(ids.shape, -1, np.int64)
    inside = (ids == IMG) | (ids == IMG_BREAK) | (ids == IMG_END)
    places[inside] = np.tile(np.asarray(flat, np.int64), len(ids))
    return places


def _points(encoded: Sequence[Encoded], tokenizer: Tokenizer) -> torch.Tensor:
    """Where an answer about a named run is about to say its colour."""
    spelled = [
        (tokenizer.encode(text), i) for i, name in enumerate(NAMES, 1) for text in (f" {name}", name.capitalize())
    ]
    found = []
    for row, one in enumerate(encoded):
        for start, end, turn, _ in one.answers:
            if turn.kind in POINTING:
                said = (
                    (row, at, label)
                    for at in range(start, end)
                    for ids, label in spelled
                    if tuple(one.ids[at + 1 : at + 1 + len(ids)]) == tuple(ids)
                )
                found += [first] if (first := next(said, None)) else []
    return torch.tensor(found, dtype=torch.int64).view(-1, 3)


def mask(branch: torch.Tensor, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """[B, 1, Q, K], 0 where a token may look and -inf where not: earlier tokens of its own branch and of branch 0.

    `queries` [B or 1, Q] and `keys` [K] are places in the sequence.
    """
    asking = branch.gather(1, queries.expand(len(branch), -1))
    asked = branch[:, keys][:, None, :]
    seen = ((asking[:, :, None] == asked) | (asked == 0)) & (keys[None, None, :] <= queries[:, :, None])
    return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, float("-inf"))[:, None]


def looks(branch: torch.Tensor) -> list[Look]:
    """The sequence in stretches, each with the keys that one of its tokens may look at.

    Tokens of branch 0 that open every row are the prefix; behind them a stretch looks no further back than its first branch.
    """
    width = branch.shape[1]
    prefix = int((branch != 0).any(0).nonzero()[0]) if (branch != 0).any() else width
    at = torch.arange(width, device=branch.device)
    new = branch < 0  # padding needs to see nothing but the prefix
    new[:, 1:] |= branch[:, 1:] != branch[:, :-1]
    opens = torch.where(new, at, 0).cummax(1).values.amin(0)
    stretches = (PREFIX_STRETCH, STRETCH) if branch.device.type == "cpu" else (width, width)
    edges = [*_steps(0, prefix, stretches[0]), *_steps(prefix, width, stretches[1]), width]
    found = []
    for start, stop in pairwise(edges):
        low = prefix if (branch[:, start:stop] == 0).any() else max(prefix, int(opens[start]))
        keys = torch.cat((at[: min(prefix, stop)], at[low:stop]))
        found.append(Look(start, stop, prefix, low, mask(branch, at[None, start:stop], keys)))
    return found


def _steps(start: int, stop: int, most: int) -> list[int]:
    """Where stretches of about equal length begin."""
    count = -(-(stop - start) // most)
    return [start + (stop - start) * i // count for i in range(count)]


def picked(target: torch.Tensor, branch: torch.Tensor) -> Picked:
    """The places of the targets, row by row, padded with the first place."""
    most = int(target.sum(1).max())
    every = torch.arange(target.shape[1], device=target.device)
    order = torch.where(target, every, target.shape[1]).sort(1).values[:, :most]
    at = torch.where(order < target.shape[1], order, 0)
    return Picked(at, mask(branch, at, every))


def draw_batch(
    rng: Random, tokenizer: Tokenizer, size: int, name: str | None = None, plan: Random | None = None
) -> Batch:
    """`size` samples of one family, their pictures on the same grids. `plan` chooses family and grids: what the batch costs."""
    plan = plan or rng
    name = name or families.choose(plan)
    shared = plan.random() > 0.14
    model = families.FAMILIES[name].sizes(plan)
    if name in IN_PARTS and plan.random() < (0.65 if name == "runs" else 0.5):
        model = [sizes.part(plan, size) for size in model]
    samples = [families.draw(rng, name, [sizes.like(rng, one) for one in model], shared=shared) for _ in range(size)]
    return collate(level(rng, samples, tokenizer) if shared else samples, tokenizer)


def draw_seen(rng: Random, tokenizer: Tokenizer, size: int, plan: Random) -> Batch:
    """Pictures without questions, for the vision encoder alone: only the labels of their patches are learned from."""
    name = families.choose(plan, families.EYES)
    model = families.FAMILIES[name].sizes(plan)
    if name in IN_PARTS:
        model = [sizes.part(plan, size) for size in model]
    count = 3 * size if name == "letters" else size
    samples = [families.draw(rng, name, [sizes.like(rng, one) for one in model]) for _ in range(count)]
    return collate([replace(sample, conversations=()) for sample in samples], tokenizer)


def level(rng: Random, samples: Sequence[Sample], tokenizer: Tokenizer) -> list[Sample]:
    """The longest samples without some of their conversations, so that little of the batch is padding."""
    lengths = [len(encode(sample, tokenizer).ids) for sample in samples]
    most = sorted(lengths)[len(samples) * 5 // 8]
    return [
        _shortened(rng, sample, tokenizer, most) if n > most else sample
        for sample, n in zip(samples, lengths, strict=True)
    ]


def _shortened(rng: Random, sample: Sample, tokenizer: Tokenizer, most: int) -> Sample:
    """The first conversation stays."""
    talks = list(sample.conversations)
    while len(talks) > 1 and len(encode(sample, tokenizer).ids) > most:
        del talks[rng.randrange(1, len(talks))]
        sample = replace(sample, conversations=tuple(talks))
    return sample
