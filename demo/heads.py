"""New training heads are fitted to what a trained model's features tell already, before anything else learns from them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from demo.encoding import Batch, looks
from demo.twin import Twin, label_sizes

ROUNDS, ROWS, RATE = 400, 2048, 6e-3


def fit(twin: Twin, batches: Sequence[Batch]) -> None:
    """Train `aux_patch` and `aux_place` alone on the features of these batches, which are computed once."""
    seen, labels, middles, places = _features(twin, batches)
    heads = [*twin.aux_patch.parameters(), *twin.aux_place.parameters()]
    optimizer = torch.optim.Adam(heads, lr=RATE)
    for i in range(ROUNDS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - i / ROUNDS)
        at, where = torch.randint(len(seen), (ROWS,)), torch.randint(len(middles), (ROWS,))
        outputs = twin.aux_patch(seen[at]).split(label_sizes(), -1)
        loss = torch.stack([F.cross_entropy(o, labels[at, i]) for i, o in enumerate(outputs)]).sum()
        placed = twin.aux_place(middles[where])
        loss = loss + F.cross_entropy(placed[:, :32], places[where] // 32)
        loss = loss + F.cross_entropy(placed[:, 32:], places[where] % 32)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    twin.zero_grad(set_to_none=True)


@torch.no_grad()
def _features(twin: Twin, batches: Sequence[Batch]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows of features and labels of patches, half of them of patches that show something; rows half way and places."""
    device = twin.norm.weight.device
    seen, labels, middles, places = [], [], [], []
    for batch in (batch for batch in batches if batch.grids):
        with torch.autocast(device.type, torch.bfloat16):
            features = [
                twin.see(patches.to(device), grid) for patches, grid in zip(batch.patches, batch.grids, strict=True)
            ]
            if batch.target.any():
                branch = batch.branch.to(device)
                _, middle, _ = twin.read(batch.ids.to(device), batch.positions.to(device), looks(branch), features)
                inside = batch.places.to(device) >= 0
                middles.append(middle[inside].float())
                places.append(batch.places.to(device)[inside])
        for found, wanted in zip(features, batch.labels, strict=True):
            rows, told = found.float().flatten(0, 1), wanted.to(device).flatten(0, 1)
            shown = (told > 0).any(1)
            quiet = (~shown).nonzero()[::4, 0]
            kept = torch.cat((shown.nonzero()[:, 0], quiet))
            seen.append(rows[kept])
            labels.append(told[kept])
    return torch.cat(seen), torch.cat(labels), torch.cat(middles), torch.cat(places)
