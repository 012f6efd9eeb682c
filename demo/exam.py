"""The held-out pictures and conversations that the demo model is measured on. Knows neither engine nor marks."""

from collections.abc import Callable, Iterator
from random import Random

from demo import families, independent
from demo.drawing import prints, sizes, sketches, words
from demo.questions import pages, reading, talk
from demo.samples import Sample

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
OTHER_PROGRAM = {f"{name} (other program)": draw for name, draw in independent.FAMILIES.items()}


def samples(name: str, questions: int, most_talks: int = 3) -> Iterator[Sample]:
    """Samples of one part of the exam with at least this many questions; few conversations of each, so many pictures."""
    draw = (EXAM | OTHER_PROGRAM)[name]
    rng = Random(SEED + sum(map(ord, name)))
    asked = 0
    while asked < questions:
        sample = draw(rng)
        talks = rng.sample(sample.conversations, min(most_talks, len(sample.conversations)))
        asked += sum(map(len, talks))
        yield Sample(name, sample.pictures, tuple(talks), sample.shared, sample.system)
