"""Questions about named runs. Who is asked by a name is answered by the colour of its line first: name, colour, line, course."""

from collections.abc import Sequence
from random import Random

from demo.drawing.charts import Line
from demo.drawing.runs import Runs
from demo.questions import talk
from demo.questions.charts import READ, story
from demo.questions.phrases import ORDINALS, cap, count, listing, turn
from demo.samples import Turn

Talks = list[tuple[Turn, ...]]
WRONG = (
    "When did things start to go wrong for {}?", "When did things start to go wrong for {}?", "When did things start to go wrong for {}?",
    "When do things start to go wrong for {}?", "When did {} start to go wrong?", "When does {} go wrong?", "At which step does {} go wrong?",
    "Where does {} start to go wrong?", "When did things go wrong for {}?", "At what step did {} start to get worse?", "When did {} get worse?",
    "Around which step did things go wrong for {}?", "At which step did things start to go wrong for {}?", "When does {} start to rise?",
    "Where does {} turn?", "When does {} start to diverge?", "Did anything go wrong for {}?", "What went wrong with {}, and when?",
)  # fmt: skip
DOES = (
    "What does {} do?", "What does {} do?", "What is the trend of {}?", "Does {} go up or down?", "How does {} develop?", "Describe {}.",
    "What happens to {}?", "How does {} go?", "Tell me about {}.",
)  # fmt: skip
COLOUR = (
    "What color is {}?", "What colour is {}?", "Which color is {}?", "Which line is {}?", "What color is the line of {}?",
    "Which color does {} have?",
)  # fmt: skip
CALLED = (
    "What is the {} line called?",
    "Which run is the {} line?",
    "Which run is {}?",
    "What is the name of the {} line?",
)
CLEAR = 0.12  # of the plot's height between two levels that are compared


def ask(rng: Random, chart: Runs, most: int = 8) -> Talks:
    turns = [one for line in chart.lines for one in _of_one(rng, chart, line)]
    turns += [*_which(rng, chart), *_compared(rng, chart), *_whole(rng, chart)]
    rng.shuffle(turns)
    goes_wrong = [_wrong(rng, chart, line, *_by_name(rng, line)) for line in chart.lines]
    turns = [*rng.sample(goes_wrong, min(2, len(goes_wrong))), *turns][:most]
    rng.shuffle(turns)
    talks: Talks = []
    while turns:
        length = rng.choices((1, 2, 3), (78, 15, 7))[0]
        talks.append(tuple(turns[:length]))
        turns = turns[length:]
    if len(chart.lines) > 1 and rng.random() < 0.3:
        talks.append(_and_the_other(rng, chart))
    if rng.random() < 0.15:
        talks.append((talk.cannot_tell_chart(rng),))
    return talks


def ask_legend(rng: Random, lines: Sequence[Line], most: int = 8) -> Talks:
    """Of a legend alone: the colour of each name, the name of each colour."""
    turns = [
        turn(rng, _filled(COLOUR, _by_name(rng, line)[0]), f"{cap(line.colour)}.", "run colour")
        for line in lines
        for _ in range(3 if len(lines) < 4 else 2)
    ]
    turns += [turn(rng, _filled(CALLED, line.colour), f"{line.name}.", "legend name") for line in rng.sample(lines, 1)]
    turns += [_placed(rng, i, line.colour) for i, line in enumerate(lines[:3]) if rng.random() < 0.4]
    rng.shuffle(turns)
    return [(one,) for one in turns[:most]]


def _placed(rng: Random, i: int, colour: str) -> Turn:
    place = f"the {ORDINALS[i]} run in the legend"
    return turn(rng, (f"What color is {place}?", f"What color has {place}?"), f"{cap(colour)}.", "run place")


def _by_name(rng: Random, line: Line) -> tuple[str, str]:
    """How a run is called in a question, and in its answer."""
    name = line.name or ""
    if rng.random() < 0.3:
        name = name.replace("-", " ").replace("_", " ")
    draw = rng.random()
    name = name.lower() if draw < 0.2 else name
    asked = rng.choice(
        (name,) * 12 + (f'"{name}"', f"the run {name}", f"the {name} run", f"run {name}", f"the line of {name}")
    )
    return asked, name


def at_step(chart: Runs, step: str | None) -> str:
    return f"{'around' if chart.dense else 'at'} step {step}"


def wrong_answer(chart: Runs, line: Line, name: str | None) -> str | None:
    """When it went wrong; `name` is how a run was asked for by name: the colour of its line opens the answer."""
    when = at_step(chart, line.step)
    if line.trend == "wrong":
        return f"The {line.colour} line goes wrong {when}." if name else f"{cap(when)}."
    if line.trend == "spike":
        return f"The {line.colour} line spikes {when}." if name else f"{cap(when)}."
    course = {"down": "goes down all the way", "flat": "stays flat"}.get(line.trend)
    if course is None:
        return None
    if name is None:
        return f"Nothing goes wrong: the {line.colour} line {course}."
    return f"The {line.colour} line {course}: nothing goes wrong for {name}."


def _wrong(rng: Random, chart: Runs, line: Line, asked: str, name: str | None) -> Turn:
    """Whatever it does: of what only rises or dips is told what it does."""
    by = " by name" if name else ""
    answer = wrong_answer(chart, line, name)
    if answer is None:
        return turn(rng, tuple(form.format(asked) for form in DOES), told(chart, line), f"run does{by}")
    return turn(rng, tuple(form.format(asked) for form in WRONG), answer, f"run wrong{by}")


def told(chart: Runs, line: Line) -> str:
    return f"The {line.colour} line {story(line)}."


def _of_one(rng: Random, chart: Runs, line: Line) -> list[Turn]:
    colour = f"the {line.colour} line"
    turns = [
        _wrong(rng, chart, line, *_by_name(rng, line)),
        turn(rng, _filled(DOES, _by_name(rng, line)[0]), told(chart, line), "run does by name"),
        turn(rng, _filled(COLOUR, _by_name(rng, line)[0]), f"{cap(line.colour)}.", "run colour"),
        turn(rng, _filled(COLOUR, _by_name(rng, line)[0]), f"{cap(line.colour)}.", "run colour"),
    ]
    if rng.random() < 0.4:
        turns.append(turn(rng, _filled(DOES, colour), told(chart, line), "run does"))
    if rng.random() < 0.4:
        turns.append(_wrong(rng, chart, line, colour, None))
    if rng.random() < 0.35:
        turns.append(turn(rng, _filled(CALLED, line.colour), f"{line.name}.", "legend name"))
    if line.trend in ("spike", "drop", "wrong"):
        asked = _by_name(rng, line)[0]
        form = {"spike": "When does {} spike?", "drop": "When does {} drop?", "wrong": "When is {} lowest?"}[line.trend]
        verb = {"spike": "spikes", "drop": "drops", "wrong": "is lowest"}[line.trend]
        answer = f"The {line.colour} line {verb} {at_step(chart, line.step)}."
        turns.append(turn(rng, (form.format(asked),), answer, "run step by name"))
    return turns


def _filled(forms: tuple[str, ...], asked: str) -> tuple[str, ...]:
    return tuple(form.format(asked) for form in forms)


def _which(rng: Random, chart: Runs) -> list[Turn]:
    """Which run does something: its colour, then its name. By place in the legend, and at the ends."""
    turns = []
    alone = (
        ("wrong", ("Which run goes wrong?", "Which one goes wrong?", "Which run gets worse?", "Which run turns up again?")),
        ("down", ("Which run goes down all the way?", "Which run gets better all the way?", "Which run only falls?")),
        ("up", ("Which run goes up all the way?", "Which run only rises?")),
        ("flat", ("Which run stays flat?",)),
        ("spike", ("Which run has a spike?", "Which run spikes?")),
    )  # fmt: skip
    for trend, forms in alone:
        found = [line for line in chart.lines if line.trend == trend]
        if len(found) == 1 and len(chart.lines) > 1:
            turns.append(turn(rng, forms, _called(found[0]), "run which"))
    ends = [levels[-1] for levels in chart.levels]
    for best, words in ((min(ends), ("lowest", "lower")), (max(ends), ("highest", "higher"))):
        rest = [end for end in ends if end != best]
        if rest and min(abs(best - end) for end in rest) > CLEAR:
            line = chart.lines[ends.index(best)]
            forms = (
                f"Which run ends {words[0]}?",
                f"Which run is {words[0]} at the end?",
                f"Which line ends {words[0]}?",
            )
            turns.append(turn(rng, forms, _called(line), "run which"))
    if len(chart.lines) > 1:
        i = rng.randrange(min(3, len(chart.lines)))
        line, place = chart.lines[i], f"the {ORDINALS[i]} run in the legend"
        turns.append(_placed(rng, i, line.colour))
        if line.trend == "wrong":
            turns.append(turn(rng, _filled(WRONG[:9], place), wrong_answer(chart, line, place) or "", "run place"))
        else:
            turns.append(turn(rng, _filled(DOES[:5], place), told(chart, line), "run place"))
    return turns


def _called(line: Line) -> str:
    return f"The {line.colour} line: {line.name}."


def _compared(rng: Random, chart: Runs) -> list[Turn]:
    """At a step: which is lower, and whether that is what was asked. Lower is better, as everywhere in this world."""
    if len(chart.lines) < 2:
        return []
    turns = []
    for _ in range(2):
        i, j = rng.sample(range(len(chart.lines)), 2)
        at = rng.randrange(len(chart.steps))
        one, other, step = chart.lines[i], chart.lines[j], chart.steps[at]
        gap = chart.levels[i][at] - chart.levels[j][at]
        if abs(gap) < CLEAR:
            continue
        (a, _), (b, _) = _by_name(rng, one), _by_name(rng, other)
        word = rng.choice(("better", "better", "lower", "higher", "worse", "above", "below"))
        than = "" if word in ("above", "below") else " than"
        so = "yes" if (gap < 0) == (word in ("better", "lower", "below")) else "no"
        lies = "below" if gap < 0 else "above"
        answer = f"The {one.colour} line is {lies} the {other.colour} line at step {step}, so {so}."
        turns.append(turn(rng, (f"Is {a} {word}{than} {b} at step {step}?",), answer, "run better"))
        low = one if gap < 0 else other
        forms = (f"Which is better at step {step}, {a} or {b}?", f"Which is lower at step {step}, {a} or {b}?")
        turns.append(turn(rng, forms, _called(low), "run better"))
    return turns


def _whole(rng: Random, chart: Runs) -> list[Turn]:
    described = listing([f"the {line.colour} line {story(line)}" for line in chart.lines])
    turns = [
        turn(rng, READ, f"A line chart: {described}.", "line read"),
        turn(rng, ("How many runs are there?", "How many lines are there?", "Count the runs."), count(len(chart.lines)), "line count"),
    ]  # fmt: skip
    if rng.random() < 0.3:
        turns.append(
            turn(
                rng,
                ("Is the axis logarithmic?", "Is the scale logarithmic?"),
                "Yes." if chart.log else "No.",
                "line log",
            )
        )
    if rng.random() < 0.3:
        names = ", ".join(line.name or "" for line in chart.lines)
        turns.append(
            turn(rng, ("What are the runs called?", "Read the legend.", "List the runs."), f"{names}.", "legend names")
        )
    if chart.title:
        turns.append(turn(rng, ("What is the title?", "What is the chart called?"), f"{chart.title}.", "chart title"))
    return turns


def _and_the_other(rng: Random, chart: Runs) -> tuple[Turn, ...]:
    one, other = rng.sample(chart.lines, 2)
    first = _wrong(rng, chart, one, *_by_name(rng, one))
    asked, name = _by_name(rng, other)
    forms = (f"And for {asked}?", f"And {asked}?", f"What about {asked}?")
    answer = wrong_answer(chart, other, name) if first.kind.startswith("run wrong") else None
    return first, turn(rng, forms, answer or told(chart, other), "run follow")
