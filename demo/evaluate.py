"""Measure a checkpoint on held-out pictures, asked through the product's own engine.

    python -m demo.evaluate [FOLDER] [--per-family 300] [--only scene,bars] [--show 5] [--processes 2]

Prints a table, and writes it with every kind's counts to demo/results.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2

from demo.drawing.canvas import Picture
from demo.exam import EXAM, OTHER_PROGRAM, WORKED, samples
from demo.marking import Mark, follows, mark, section
from demo.samples import Sample, Turn
from pixtral_cli import images
from pixtral_cli.chat.engine import Engine, Sampling
from pixtral_cli.chat.message import Message, Part, assistant, system
from pixtral_cli.engines.local.engine import LocalEngine

CHECKPOINT = Path("pixtral_cli/models/demo")
RESULTS = Path("demo/results")
GREEDY = Sampling(temperature=0.0, max_tokens=400)


@dataclass(frozen=True, slots=True)
class Answer:
    turn: Turn
    text: str
    opens: bool  # the first turn of its conversation
    mark: Mark
    seconds: float


@dataclass(slots=True)
class Score:
    """Counts of one row. `structure` and `words` are sums over web pages, `true` counts descriptions of charts and the true ones."""

    first: list[int] = field(default_factory=lambda: [0, 0])
    later: list[int] = field(default_factory=lambda: [0, 0])
    structure: float = 0.0
    words: float = 0.0
    follows: int = 0
    true: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, answer: Answer) -> None:
        counts = self.first if answer.opens else self.later
        counts[0] += answer.mark.right
        counts[1] += 1
        self.structure += bool(answer.mark.structure)
        self.words += answer.mark.words or 0.0
        self.follows += bool(answer.mark.follows)
        self.true[0] += bool(answer.mark.true)
        self.true[1] += answer.mark.true is not None


def png(picture: Picture, name: str) -> images.Image:
    return images.from_bytes(cv2.imencode(".png", picture.pixels[..., ::-1])[1].tobytes(), name)


def message(turn: Turn, shown: Sequence[images.Image]) -> Message:
    """The user's message; pictures before the text or where the turn places them."""
    if not shown or turn.at is None:
        return Message("user", (*shown, turn.question))
    parts: tuple[Part, ...] = (turn.question[: turn.at], *shown, turn.question[turn.at :])
    return Message("user", tuple(part for part in parts if part))


def converse(engine: Engine, sample: Sample) -> Iterator[Answer]:
    """Hold every conversation of a sample; the model's own answers are the history."""
    shown = [png(picture, f"{i}.png") for i, picture in enumerate(sample.pictures)]
    for turns in sample.conversations:
        history: list[Message] = [system(sample.system)] if sample.system else []
        said = ""
        for i, turn in enumerate(turns):
            first = sample.shared and i == 0
            history.append(message(turn, shown if first else [shown[n] for n in turn.images]))
            began = time.perf_counter()
            text = "".join(chunk.text for chunk in engine.stream(history, GREEDY))
            seconds = time.perf_counter() - began
            found = mark(turn, text)
            if turn.kind == "page edit" and i:
                found = replace(found, follows=follows((turns[i - 1].answer, turn.answer), (said, text)))
            said = text
            history.append(assistant(text))
            yield Answer(turn, text, i == 0, found, seconds)


def examine(engine: Engine, names: Sequence[str], questions: int) -> dict[str, list[Answer]]:
    return {name: [a for sample in samples(name, questions) for a in converse(engine, sample)] for name in names}


def examine_apart(folder: Path, names: Sequence[str], questions: int, processes: int) -> dict[str, list[Answer]]:
    """The same, each part in a process of its own, so many at once."""
    tasks = [(folder, name, questions) for name in names]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        parts = list(pool.map(_examine_part, *zip(*tasks, strict=True)))
    return {name: answers for part in parts for name, answers in part.items()}


def _examine_part(folder: Path, name: str, questions: int) -> dict[str, list[Answer]]:
    return examine(LocalEngine(folder, name="demo", device="cpu"), [name], questions)


def scores(answers: dict[str, list[Answer]]) -> dict[str, Score]:
    rows: dict[str, Score] = defaultdict(Score)
    for name, given in answers.items():
        for answer in given:
            rows[section(name, answer.turn.kind)].add(answer)
    return dict(sorted(rows.items(), key=lambda row: ("other program" in row[0], row[0])))


def table(rows: dict[str, Score]) -> str:
    lines = ["| | first turns | later turns |", "|---|---:|---:|"]
    for name, score in rows.items():
        lines.append(f"| {name} | {_share(score.first)} | {_share(score.later)} |")
        if name.endswith(("HTML", "edits")):
            total = score.first[1] + score.later[1]
            lines.append(f"| – structure, words | {score.structure / total:.0%}, {score.words / total:.0%} | |")
        if score.true[1]:
            lines.append(f"| – descriptions without a falsehood | {_share(score.true)} | |")
        if name.endswith("edits"):
            lines.append(f"| – as asked, of its own page | | {score.follows / total:.0%} |")
    return "\n".join(lines)


def _share(counts: list[int]) -> str:
    return f"{counts[0] / counts[1]:.0%} of {counts[1]}" if counts[1] else "–"


def by_kind(answers: dict[str, list[Answer]]) -> dict[str, dict[str, list[int]]]:
    """For each part and kind: right and asked in first turns, right and asked in later ones."""
    kinds: dict[str, dict[str, list[int]]] = {}
    for name, given in answers.items():
        part: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for answer in given:
            counts = part[answer.turn.kind]
            counts[0 if answer.opens else 2] += answer.mark.right
            counts[1 if answer.opens else 3] += 1
        kinds[name] = dict(sorted(part.items()))
    return kinds


def show_wrong(answers: dict[str, list[Answer]], most: int) -> None:
    for name, given in answers.items():
        for answer in [answer for answer in given if not answer.mark.right][:most]:
            print(
                f"{name} [{answer.turn.kind}] {answer.turn.question!r}\n  wanted {answer.turn.answer!r}\n  got    {answer.text!r}"
            )


def record(folder: Path, checkpoint: Path, answers: dict[str, list[Answer]], seconds: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    every = sorted(answer.seconds for given in answers.values() for answer in given)
    found: dict[str, Any] = {
        "checkpoint": str(checkpoint), "questions": len(every), "seconds": round(seconds, 1),
        "answer_seconds_median": round(every[len(every) // 2], 4), "kinds": by_kind(answers),
    }  # fmt: skip
    (folder / "evaluation.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "evaluation.md").write_text(table(scores(answers)) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=CHECKPOINT)
    parser.add_argument("--per-family", type=int, default=300)
    parser.add_argument("--only", default="", help="parts of the exam, separated by commas")
    parser.add_argument("--show", type=int, default=0, help="print so many wrong answers of each part")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    names = [name for name in given.only.split(",") if name] or [WORKED, *EXAM, *OTHER_PROGRAM]
    began = time.monotonic()
    answers = examine_apart(given.folder, names, given.per_family, given.processes)
    show_wrong(answers, given.show)
    print(table(scores(answers)))
    record(given.out, given.folder, answers, time.monotonic() - began)


if __name__ == "__main__":
    main()
