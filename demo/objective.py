"""The training loss, and counting right answers without decoding."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from demo.drawing.canvas import KIND
from demo.encoding import Batch, looks, picked
from demo.tokenizer import IMG
from demo.twin import Twin, label_sizes

GROUND_WEIGHTS = (0.3, 0.3, 0.08, 0.08, 0.08)  # of patches where there is nothing to tell
PLACE_WEIGHT = 0.3
POINT_WEIGHT = 0.5


@dataclass(slots=True)
class Loss:
    """Of the answers, and of the auxiliary heads; whether each answer token was the likeliest."""

    answers: Tensor
    auxiliary: Tensor
    right: Tensor


def losses(twin: Twin, batch: Batch, *, auxiliary: bool = True) -> Loss:
    device = twin.norm.weight.device
    features = [twin.see(patches.to(device), grid) for patches, grid in zip(batch.patches, batch.grids, strict=True)]
    if not batch.target.any():
        return Loss(
            torch.zeros((), device=device), _told(twin, features, batch), _characters_right(twin, features, batch)
        )
    ids, target, branch = batch.ids.to(device), batch.target.to(device), batch.branch.to(device)
    wanted = torch.roll(ids, -1, 1)[target]
    answers = picked(target, branch)
    hidden, middle, scores = twin.read(ids, batch.positions.to(device), looks(branch), features, answers)
    logits = twin.logits(hidden[target.gather(1, answers.at)]).float()
    extra = torch.zeros((), device=device)
    if auxiliary and features:
        extra = _told(twin, features, batch) + PLACE_WEIGHT * _place_loss(twin, middle, batch.places.to(device))
        if scores is not None and len(batch.points) and len(batch.grids) == 1:
            extra = extra + POINT_WEIGHT * pointing(scores, answers.at, batch)
    return Loss(F.cross_entropy(logits, wanted), extra, logits.detach().argmax(-1) == wanted)


def _told(twin: Twin, features: list[Tensor], batch: Batch) -> Tensor:
    """What the patches of all pictures tell."""
    parts = [
        _patch_loss(twin, seen, labels.to(seen.device)) for seen, labels in zip(features, batch.labels, strict=True)
    ]
    return torch.stack(parts).mean()


def _patch_loss(twin: Twin, features: Tensor, labels: Tensor) -> Tensor:
    """Kind, colour and characters of each patch; patches with nothing in them weigh less."""
    outputs = twin.aux_patch(features).float().flatten(0, 1).split(label_sizes(), -1)
    total = torch.zeros((), device=features.device)
    for i, (output, quiet) in enumerate(zip(outputs, GROUND_WEIGHTS, strict=True)):
        wanted = labels[..., i].flatten()
        each = F.cross_entropy(output, wanted, reduction="none")
        weights = torch.where(wanted > 0, 1.0, quiet)
        total = total + (each * weights).sum() / weights.sum()
    return total


@torch.no_grad()
def _characters_right(twin: Twin, features: list[Tensor], batch: Batch) -> Tensor:
    """Of the places in patches where a character stands, whether it is the likeliest."""
    found = []
    for seen, labels in zip(features, batch.labels, strict=True):
        told = torch.stack([o.argmax(-1) for o in twin.aux_patch(seen).split(label_sizes(), -1)[2:]], -1)
        wanted = labels[..., 2:].to(told.device)
        found.append((told == wanted)[wanted > 0])
    return torch.cat(found) if found else torch.ones(1)


def _place_loss(twin: Twin, middle: Tensor, places: Tensor) -> Tensor:
    inside = places >= 0
    output, wanted = twin.aux_place(middle[inside]).float(), places[inside]
    return F.cross_entropy(output[:, :32], wanted // 32) + F.cross_entropy(output[:, 32:], wanted % 32)


def pointing(scores: Tensor, at: Tensor, batch: Batch) -> Tensor:
    """Who is about to say a run's colour is to look at its name in the legend: of all patches, those labelled so.

    `scores` [B, M, T] from the places `at` [B, M].
    """
    device = scores.device
    row, place, colour = batch.points.to(device).unbind(1)
    asking = (at[row] == place[:, None]).int().argmax(1)
    shown = batch.ids.to(device) == IMG
    patches = scores[row, asking][shown[row]].view(len(row), -1).float()
    labels = batch.labels[0].to(device)[row]
    wanted = (labels[..., 0] == KIND["name"]) & (labels[..., 1] == colour[:, None])
    there = wanted.any(1)
    if not there.any():
        return torch.zeros((), device=device)
    patches, wanted = patches[there], wanted[there]
    found = patches.masked_fill(~wanted, float("-inf")).logsumexp(1)
    return (patches.logsumexp(1) - found).mean()


@torch.no_grad()
def right_answers(twin: Twin, batches: Iterable[Batch]) -> dict[str, list[int]]:
    """[right, asked] for each kind of question; first turns apart under `kind *`. Right: every token the likeliest one."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for batch in (batch for batch in batches if batch.target.any()):
        with torch.autocast(twin.norm.weight.device.type, torch.bfloat16):
            loss = losses(twin, batch, auxiliary=False)
        right = torch.ones(batch.ids.shape, dtype=torch.bool)
        right[batch.target] = loss.right.cpu()
        for row, answers in enumerate(batch.answers):
            for start, end, turn, opens in answers:
                hit = bool(right[row, start:end].all())
                for kind in (turn.kind, f"{turn.kind} *") if opens else (turn.kind,):
                    counts[kind][0] += hit
                    counts[kind][1] += 1
    return dict(counts)
