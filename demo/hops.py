"""How far an answer about a named run gets: the name to its colour, the line to what it does, the line to its step.

    python -m demo.hops runs/NAME [--batches 24] [--seed 10500000]

Each part is counted with everything before it given (held-out seeds, training's own pictures), and of the patches of names in
legends whether the encoder knows their colour and their characters.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from random import Random

import torch

from demo.drawing.canvas import KIND
from demo.drawing.palette import NAMES
from demo.encoding import Batch, draw_batch
from demo.objective import losses
from demo.tokenizer import SPECIALS, Tokenizer
from demo.twin import Shape, Twin, label_sizes

Counts = dict[str, list[int]]
TOLD = ("run does", "run wrong", "run wrong by name", "run does by name")


def measure(twin: Twin, tokenizer: Tokenizer, batches: list[Batch]) -> Counts:
    """[right, asked] for each hop."""
    counts: Counts = defaultdict(lambda: [0, 0])
    for batch in batches:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            found = losses(twin, batch, auxiliary=False).right
            right = torch.zeros(batch.ids.shape, dtype=torch.bool)
            right[batch.target] = found
            colours = {(row, place) for row, place, _ in batch.points.tolist()}
            for row, answers in enumerate(batch.answers):
                for start, end, turn, _ in answers:
                    for place in (place for place in range(start, end) if (row, place) in colours):
                        hop = "place to colour" if turn.kind == "run place" else "name to colour"
                        _add(counts, f"{batch.family}: {hop}", bool(right[row, place]))
                    if turn.kind in TOLD:
                        ids = batch.ids[row, start + 1 : end + 1].tolist()
                        words = [tokenizer.decode([i]).strip().lower() if i >= SPECIALS else "" for i in ids]
                        _course(counts, batch.family, words, right[row, start:end])
            _patches(counts, twin, batch)
    return dict(counts)


def _course(counts: Counts, family: str, words: list[str], right: torch.Tensor) -> None:
    """What is said of a line once its colour is given: up to the word "step", and the step."""
    colour = next((i for i, word in enumerate(words) if word in NAMES), None)
    if colour is None:
        return
    step = words.index("step") if "step" in words else len(words)
    _add(counts, f"{family}: colour to course", bool(right[colour + 1 : step].all()))
    if step < len(words):
        _add(counts, f"{family}: course to step", bool(right[step + 1 :].all()))


def _patches(counts: Counts, twin: Twin, batch: Batch) -> None:
    for patches, grid, labels in zip(batch.patches, batch.grids, batch.labels, strict=True):
        outputs = twin.aux_patch(twin.see(patches, grid)).split(label_sizes(), -1)
        named = (labels[..., 0] == KIND["name"]) & (labels[..., 1] > 0)
        for hit in (outputs[1].argmax(-1) == labels[..., 1])[named].tolist():
            _add(counts, f"{batch.family}: patch of a name to colour", hit)
        for output, wanted in zip(outputs[2:], labels[..., 2:].unbind(-1), strict=True):
            written = named & (wanted > 1)
            for hit in (output.argmax(-1) == wanted)[written].tolist():
                _add(counts, f"{batch.family}: patch of a name to characters", hit)


def _add(counts: Counts, hop: str, hit: bool) -> None:
    counts[hop][0] += hit
    counts[hop][1] += 1


def load(run: Path) -> tuple[Twin, int]:
    """The averaged weights of a run, and the pictures that it has seen."""
    state = torch.load(run / "state.pt", weights_only=True, map_location="cpu")
    twin = Twin(Shape(**state["shape"]), len(state["average"]["tok_embeddings.weight"]))
    twin.load_state_dict(state["average"])
    return twin, int(state["images"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--batches", type=int, default=24, help="of eight pictures, for each family")
    parser.add_argument("--seed", type=int, default=10_500_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    (twin, images), tokenizer, rng = load(given.run), Tokenizer(given.run), Random(given.seed)
    batches = [draw_batch(rng, tokenizer, 8, name) for name in ("legend", "runs") for _ in range(given.batches)]
    print(f"{images} pictures")
    for hop, (right, asked) in sorted(measure(twin, tokenizer, batches).items()):
        print(f"{hop:<48}{right:>6} of {asked:>5}  {right / asked:.0%}")


if __name__ == "__main__":
    main()
