"""Draw the small sets of `pixtral eval demo-*`: python -m demo.sets

Pictures of the other program (`independent`), which no training sees, and those of its questions that have a short answer.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from demo.drawing.palette import COLOURS
from demo.independent import FAMILIES
from demo.samples import Sample, Turn

FOLDER = Path("pixtral_cli/evals/sets")
SEED = 7_102_410
PICTURES = 24
EACH = 4  # questions of a picture
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross", "heart", "hexagon")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

Short = dict[str, Any]


def _one_of(words: tuple[str, ...]) -> Callable[[str], Short | None]:
    """The one of these words that an answer names, and the others, which a right answer does not name."""

    def short(answer: str) -> Short | None:
        named = [word for word in words if re.search(rf"\b{word}s?\b", answer.lower())]
        return {"answer": named[0], "others": [word for word in words if word != named[0]]} if len(named) == 1 else None

    return short


def _yes_or_no(answer: str) -> Short | None:
    word = answer.split(" ")[0].strip(".,").lower()
    return {"answer": word, "others": [{"yes": "no", "no": "yes"}[word]]} if word in ("yes", "no") else None


def _number(answer: str) -> Short | None:
    match = re.search(r"-?\d+(?:\.\d+)?", answer)
    word = answer.strip(".").lower()
    if match or word in NUMBERS:
        return {"answer": match[0] if match else str(NUMBERS.index(word))}
    return None


def _whole(answer: str) -> Short | None:
    words = answer.removesuffix(".").removeprefix("The ").removeprefix("the ")
    return {"answer": words} if len(words) > 1 else None  # a lone letter is in many a wrong answer


KINDS: dict[str, dict[str, Callable[[str], Short | None]]] = {
    "scene": {
        "colour": _one_of(tuple(COLOURS)), "shape": _one_of(SHAPES), "count": _number, "exists": _yes_or_no,
        "relation": _yes_or_no, "extreme": _whole,
    },
    "bars": {"bar value": _number, "bar count": _number, "bar highest by label": _whole, "bar lowest by label": _whole},
    "lines": {"line log": _yes_or_no, "line step": _number, "line wrong": _number},
    "print": {"read": _whole, "read count": _number},
}  # fmt: skip
SETS = {"demo-shapes": ("scene",), "demo-charts": ("bars", "lines"), "demo-reading": ("print",)}


_COURSE = re.compile(r"the (\w+) line (.+?)(?=, the | and the |\.$)")


def hidden(sample: Sample) -> bool:
    """Whether two lines have the same course: then one may lie under the other."""
    told = [turn.answer for turns in sample.conversations for turn in turns if turn.kind == "line read"]
    courses = [course for answer in told[:1] for _, course in _COURSE.findall(answer)]
    return len(set(courses)) < len(courses)


def questions(family: str, sample: Sample) -> Iterator[Short]:
    """A sample's first turns that have a short answer, one of each kind."""
    seen: set[str] = set()
    for turns in sample.conversations:
        turn: Turn = turns[0]
        short = KINDS[family][turn.kind](turn.answer) if turn.kind in KINDS[family] else None
        if short and turn.kind not in seen:
            seen.add(turn.kind)
            yield {"question": turn.question, **short, "kind": turn.kind}


def write(name: str, families: tuple[str, ...]) -> None:
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    rng = Random(f"{SEED} {name}")
    rows: list[Short] = []
    number = 0
    while number < PICTURES:
        family = families[number % len(families)]
        sample = FAMILIES[family](rng)
        asked = list(questions(family, sample))[:EACH]
        if asked and len(sample.pictures) == 1 and not hidden(sample):
            file = f"{number:02}.png"
            pixels = Image.fromarray(sample.pictures[0].pixels)
            pixels.thumbnail((400, 400))
            pixels.quantize(48, dither=Image.Dither.NONE).save(folder / file, optimize=True)
            rows += [{"image": file, **one} for one in asked]
            number += 1
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    for name, families in SETS.items():
        write(name, families)
