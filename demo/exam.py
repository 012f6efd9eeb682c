"""The held-out pictures and conversations that the demo model is measured on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from demo import families, independent
from demo.drawing import prints, sizes, sketches, words
from demo.drawing.canvas import Picture, grid_of
from demo.questions import pages, reading, talk
from demo.samples import Sample, Turn

EXAMPLES = Path(__file__).parents[1] / "examples"
_LOGIN = """```html
<!doctype html>
<title>Login</title>
<h1>Login</h1>
<input placeholder="Email">
<input placeholder="Password">
<label><input type="checkbox">Remember</label>
<button>Submit</button>
```"""
SEED = 20_000_000  # training and its own held-out batches use smaller ones


def _reading(rng: Random) -> Sample:
    """Words and numbers; training has many that are neither."""
    shown, picture = prints.draw(rng, sizes.strip(rng))
    return Sample("reading", (picture,), tuple(reading.ask(rng, shown)))


def _reading_new_words(rng: Random) -> Sample:
    """One word on a line that no training picture shows."""
    while True:
        shown, picture = prints.draw(rng, sizes.strip(rng), words.held_out_word)
        if len(shown.lines) == 1 and shown.lines[0].lower() in words.HELD_OUT:
            talks = [(turn,) for talk in reading.ask(rng, shown) for turn in talk if turn.kind == "read"]
            if talks:
                return Sample("reading, new words", (picture,), tuple(talks[:1]))


def _sketch(rng: Random, name: str, word: Callable[[Random], str]) -> Sample:
    parts, picture = sketches.draw(rng, sizes.page(rng), word)
    while not parts:
        parts, picture = sketches.draw(rng, sizes.page(rng), word)
    return Sample(name, (picture,), tuple(pages.ask(rng, parts)))


def _closed(rng: Random) -> Sample:
    return _sketch(rng, "sketch", lambda r: r.choice(words.INTERFACE))


def _open(rng: Random) -> Sample:
    return _sketch(rng, "sketch, new words", lambda r: words.held_out_word(r).capitalize())


def _outside(rng: Random) -> Sample:
    """Questions of kinds that were never trained, with and without a picture."""
    if rng.random() < 0.5:
        return Sample("outside", (), ((talk.outside(rng, talk.OUTSIDE_HELD_OUT),),), shared=False)
    picture = families.draw(rng, rng.choice(("scene", "view"))).pictures
    return Sample("outside", picture, ((talk.cannot_tell(rng, talk.UNSEEN_HELD_OUT),),))


def _anywhere(rng: Random) -> Sample:
    """Text before the picture, a picture in a later turn, system prompts."""
    return families.draw(rng, rng.choice(("scene", "bars")), shared=False)


EXAM: dict[str, Callable[[Random], Sample]] = {
    "scene": lambda rng: families.draw(rng, "scene"),
    "near and far": lambda rng: families.draw(rng, "view"),
    "several pictures": lambda rng: families.draw(rng, "pair"),
    "bars": lambda rng: families.draw(rng, "bars"),
    "lines": lambda rng: families.draw(rng, "lines"),
    "runs": lambda rng: families.draw(rng, "runs"),
    "reading": _reading,
    "reading, new words": _reading_new_words,
    "sketch": _closed,
    "sketch, new words": _open,
    "talk": lambda rng: families.draw(rng, "talk"),
    "outside": _outside,
    "picture anywhere, system prompt": _anywhere,
}
WORKED = "worked examples"  # asked word for word, on the pictures in examples/ as they lie there
_WORKED = (
    (
        "near-far.png", "Is this person really big, or is this building just super small?",
        "Neither: the person is near and the building is far away, so the person only looks big.", "view really",
    ),
    ("sketch.png", "Write HTML code to create a website like this", _LOGIN, "page html"),
    ("runs.png", "When did things start to go wrong for dark dragon?", "The red line goes wrong at step 4.", "run wrong by name"),
)  # fmt: skip
OTHER_PROGRAM = {f"{name} (other program)": draw for name, draw in independent.FAMILIES.items()}


def samples(name: str, questions: int, most_talks: int = 3) -> Iterator[Sample]:
    """Samples of one part of the exam with at least this many questions; few conversations of each, so many pictures."""
    if name == WORKED:
        yield from worked()
        return
    draw = (EXAM | OTHER_PROGRAM)[name]
    rng = Random(SEED + sum(map(ord, name)))
    asked = 0
    while asked < questions:
        sample = draw(rng)
        talks = rng.sample(sample.conversations, min(most_talks, len(sample.conversations)))
        asked += sum(map(len, talks))
        yield Sample(name, sample.pictures, tuple(talks), sample.shared, sample.system)


def worked() -> Iterator[Sample]:
    """The three worked examples, each a first turn about its picture."""
    for file, question, answer, kind in _WORKED:
        with Image.open(EXAMPLES / file) as opened:
            pixels = np.asarray(opened.convert("RGB"), np.uint8)
        picture = Picture(pixels, np.zeros((0, 5), np.int16), grid_of(pixels))
        yield Sample(WORKED, (picture,), ((Turn(question, answer, kind),),))
