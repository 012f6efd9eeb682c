"""The families of the demo's pictures and questions, and how often each is trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random

from demo.drawing import charts, keys, prints, runs, scenes, sheets, sizes, sketches, views, words
from demo.drawing.canvas import Picture, Size
from demo.questions import charts as chart_questions
from demo.questions import pages, pairs, reading, talk
from demo.questions import runs as run_questions
from demo.questions import scenes as scene_questions
from demo.questions import views as view_questions
from demo.samples import Sample, Turn

Talks = list[tuple[Turn, ...]]


@dataclass(frozen=True, slots=True)
class Family:
    """`weight` is its share of the training batches; `sizes` of its pictures and the sample made at those sizes."""

    weight: float
    sizes: Callable[[Random], list[Size]]
    make: Callable[[Random, list[Size]], tuple[list[Picture], Talks]]


def _scene(rng: Random, at: list[Size]) -> tuple[list[Picture], Talks]:
    scene, picture = scenes.draw(rng, at[0])
    return [picture], scene_questions.ask(rng, scene)


def _view(rng: Random, at: list[Size]) -> tuple[list[Picture], Talks]:
    view, picture = views.draw(rng, at[0])
    return [picture], view_questions.ask(rng, view)


def _pair(rng: Random, at: list[Size]) -> tuple[list[Picture], Talks]:
    most = rng.choice((1, 2, 3))
    drawn = [scenes.draw(rng, size, most) for size in at]
    return [picture for _, picture in drawn], pairs.ask(rng, [scene for scene, _ in drawn])


def _bars(rng: Random, at: list[Size]) -> tuple[list[Picture], Talks]:
    bars, picture = charts.draw_bars(rng, at[0])
    return [picture], chart_questions.ask_bars(rng, bars)


def _lines(rng: Random, at: list[Size]) -> tuple[list[Picture], Talks]:
    lines, picture = charts.draw_lines(rng, at[0])
    return [picture], chart_questions.ask_lines(rng, lines)


def _runs(rng: Random, at: list[Size]) -> tuple[list[Picture], Talks]:
    shown, picture = runs.draw(rng, at[0])
    return [picture], run_questions.ask(rng, shown)


def _legend(rng: Random, at: list[Size]) -> tuple[list[Picture], Talks]:
    lines, picture = keys.draw(rng, at[0])
    while len(lines) < 2:  # of one nothing would be learned
        lines, picture = keys.draw(rng, at[0])
    return [picture], run_questions.ask_legend(rng, lines)


def _print(rng: Random, at: list[Size]) -> tuple[list[Picture], Talks]:
    shown, picture = prints.draw(rng, at[0], words.varied_word, crowded=True)
    return [picture], reading.ask(rng, shown)


def _letters(rng: Random, at: list[Size]) -> tuple[list[Picture], Talks]:
    """Nothing is asked: what it shows is told by the labels of its patches, and only the vision encoder learns from it."""
    return [sheets.cutting(rng, at[0])], []


def _sketch(rng: Random, at: list[Size]) -> tuple[list[Picture], Talks]:
    parts, picture = sketches.draw(rng, at[0])
    while not parts:
        parts, picture = sketches.draw(rng, at[0])
    talks = pages.ask(rng, parts)
    if rng.random() < 0.6:
        talks.append(pages.edited_after_misreading(rng, parts))
    return [picture], talks


def _talk(rng: Random, at: list[Size]) -> tuple[list[Picture], Talks]:
    return [], talk.ask(rng)


def _several(rng: Random) -> list[Size]:
    return [sizes.small(rng) for _ in range(3 if rng.random() < 0.2 else 2)]


FAMILIES: dict[str, Family] = {
    "scene": Family(0.08, lambda rng: [sizes.scene(rng)], _scene),
    "view": Family(0.03, lambda rng: [sizes.scene(rng)], _view),
    "pair": Family(0.05, _several, _pair),
    "bars": Family(0.08, lambda rng: [sizes.chart(rng)], _bars),
    "lines": Family(0.05, lambda rng: [sizes.chart(rng)], _lines),
    "runs": Family(0.15, lambda rng: [sizes.chart(rng)], _runs),
    "legend": Family(0.4, lambda rng: [sizes.legend(rng)], _legend),
    "print": Family(0.06, lambda rng: [sizes.strip(rng)], _print),
    "sketch": Family(0.06, lambda rng: [sizes.page(rng)], _sketch),
    "letters": Family(0.02, lambda rng: [sizes.crowd(rng)], _letters),
    "talk": Family(0.02, lambda rng: [], _talk),
}


EYES = {
    "letters": 0.6,
    "print": 0.1,
    "bars": 0.05,
    "lines": 0.03,
    "runs": 0.06,
    "sketch": 0.1,
    "scene": 0.05,
    "view": 0.03,
}


def choose(rng: Random, weights: Mapping[str, float] | None = None) -> str:
    weights = weights or {name: family.weight for name, family in FAMILIES.items()}
    return rng.choices(list(weights), list(weights.values()))[0]


def draw(rng: Random, name: str, at: list[Size] | None = None, *, shared: bool = True) -> Sample:
    """A sample of the family at these sizes (its own choice without them).

    Not `shared`: one conversation, its pictures anywhere in it, sometimes a system prompt.
    """
    family = FAMILIES[name]
    pictures, talks = family.make(rng, family.sizes(rng) if at is None else at)
    if (shared and name != "talk") or not talks:
        return Sample(name, tuple(pictures), tuple(talks))
    system = rng.choice(talk.SYSTEMS) if rng.random() < 0.5 else None
    return Sample(name, tuple(pictures), (_one_talk(rng, len(pictures), talks),), shared=False, system=system)


def _one_talk(rng: Random, pictures: int, talks: Talks) -> tuple[Turn, ...]:
    """Run the conversations together into one of up to five turns, and put the pictures somewhere in its first turns."""
    turns = [turn for conversation in talks[:3] for turn in conversation][:4]
    if not pictures:
        return tuple(turns)
    opening = rng.randrange(4)
    if opening == 0:
        turns.insert(0, talk.known(rng))
    index = 1 if opening == 0 else 0
    at = len(turns[index].question) // 2 if opening == 1 else None
    turns[index] = replace(turns[index], images=tuple(range(pictures)), at=at)
    return tuple(turns)
