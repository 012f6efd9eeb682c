"""Plot a run's log: the loss of each family, and the share of held-out first questions answered right.

python -m demo.curve runs/NAME [demo/results/curves.png]
"""

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

GROUPS = {
    "scenes": ("what", "shape", "count", "colour", "exists", "describe"),
    "position": ("where", "beside", "relation", "extreme"),
    "near and far": ("view what", "view near", "view really"),
    "several pictures": ("pair what", "pair which", "pair compare"),
    "bars": ("bar value", "bar highest", "bar lowest", "bar compare", "bar count"),
    "lines": ("line trend", "line step", "line wrong"),
    "named runs": ("run wrong by name", "run does by name", "run colour"),
    "reading": ("read",),
    "sketch to page": ("page html", "page what", "page count"),
    "text alone": ("self", "no image", "outside"),
}


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def share(right: dict[str, list[int]], kinds: tuple[str, ...]) -> float:
    """Of the first questions (`kind *`) of these kinds."""
    counts = [right[f"{kind} *"] for kind in kinds if f"{kind} *" in right]
    return sum(hit for hit, _ in counts) / max(1, sum(asked for _, asked in counts))


def plot(log: list[dict[str, Any]], path: Path) -> None:
    figure = Figure((10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    losses, marks = [e for e in log if "loss" in e], [e for e in log if "right" in e]
    for family in sorted({name for entry in losses for name in entry["loss"]}):
        points = [(e["images"], e["loss"][family][0]) for e in losses if e["loss"].get(family, [0])[0]]
        if not points:  # its pictures are labelled, not asked about
            continue
        left.plot(*zip(*points, strict=True), label=family)
    left.set(xlabel="pictures seen", ylabel="loss of the answers", yscale="log")
    for group, kinds in GROUPS.items():
        right.plot(
            [e["images"] for e in marks], [100 * share(e["right"], kinds) for e in marks], marker="o", label=group
        )
    right.set(xlabel="pictures seen", ylabel="first questions right, %", ylim=(0, 100))
    for axes in (left, right):
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("path", type=Path, nargs="?", default=Path("demo/results/curves.png"))
    given = parser.parse_args()
    plot(entries(given.run), given.path)


if __name__ == "__main__":
    main()
