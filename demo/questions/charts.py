"""Questions about bar charts and line charts."""

from random import Random

from demo.drawing.charts import Bars, Line, Lines
from demo.questions import talk
from demo.questions.phrases import count, dialogues, listing, turn
from demo.questions.tables import ask_table
from demo.samples import Turn

READ = (
    "Describe the chart.",
    "What does the chart show?",
    "Describe the image.",
    "Read the chart.",
    "What is in the image?",
    "Summarize this chart.",
    "Describe this chart in detail.",
    "Describe the plot.",
    "What do you see in the chart?",
    "Explain this chart.",
    "What does this graph show?",
    "Tell me about this chart.",
    "What is this?",
)


def ask_bars(rng: Random, bars: Bars, most: int = 9) -> list[tuple[Turn, ...]]:
    names = bars.colours if bars.coloured else bars.labels or ()
    turns = [*_values(rng, bars), *_extremes(rng, bars), *_compared(rng, bars)]
    turns.append(
        turn(
            rng,
            ("How many bars are there?", "Count the bars.", "How many bars does the chart have?"),
            count(len(bars.values)),
            "bar count",
        )
    )
    shown = bars.labels if (bars.labels and rng.random() < 0.5) or not bars.coloured else names
    read = ", ".join(f"{name} {value}" for name, value in zip(shown or names, bars.values, strict=True))
    asked: tuple[str, ...] = READ
    if bars.labels and bars.coloured:
        asked = (
            ("Read the chart by label.", "List the labels and values.")
            if shown is bars.labels
            else ("Read the chart by color.", "List the colors and values.", *READ)
        )
    turns.append(turn(rng, asked, f"A bar chart: {read}.", "bar read"))
    if bars.title:
        turns.append(_title(rng, bars.title))
    if bars.labels:
        turns.append(
            turn(
                rng,
                ("What are the labels?", "List the labels.", "Read the labels."),
                f"{', '.join(bars.labels)}.",
                "bar labels",
            )
        )
    talks = [*dialogues(rng, turns, most), *_its_value(rng, bars)]
    if bars.coloured or bars.labels:
        talks.append((ask_table(rng, bars),))
    if rng.random() < 0.3:
        talks.append((talk.cannot_tell_chart(rng),))
    return talks


def _its_value(rng: Random, bars: Bars) -> list[tuple[Turn, ...]]:
    """A conversation whose second question needs the first answer."""
    first = [turn for turn in _extremes(rng, bars) if turn.kind != "bar value"]
    if not first or rng.random() < 0.6:
        return []
    asked = rng.choice(first)
    value = max(bars.values) if "highest" in asked.kind else min(bars.values)
    return [(asked, turn(rng, ("What is its value?", "And its value?", "How high is it?"), f"{value}.", "bar follow"))]


def _title(rng: Random, title: str) -> Turn:
    return turn(
        rng,
        ("What is the title?", "What is the title of the chart?", "What is the chart called?"),
        f"{title}.",
        "chart title",
    )


def _values(rng: Random, bars: Bars) -> list[Turn]:
    turns = []
    for i, value in enumerate(bars.values):
        if bars.coloured:
            c = bars.colours[i]
            turns.append(
                turn(
                    rng,
                    (
                        f"What is the value of the {c} bar?",
                        f"How high is the {c} bar?",
                        f"Value of {c}?",
                        f"What value does the {c} bar have?",
                    ),
                    f"{value}.",
                    "bar value",
                )
            )
        if bars.labels:
            name = bars.labels[i]
            turns.append(
                turn(
                    rng,
                    (
                        f"What is the value of {name}?",
                        f"What is the value for {name}?",
                        f"How much is {name}?",
                        f"{name}?",
                    ),
                    f"{value}.",
                    "bar value by label",
                )
            )
    return turns


def _extremes(rng: Random, bars: Bars) -> list[Turn]:
    turns = []
    for best, tall, word in (
        (max(bars.values), ("tallest", "highest", "largest"), "highest"),
        (min(bars.values), ("shortest", "lowest", "smallest"), "lowest"),
    ):
        if bars.values.count(best) != 1:
            continue
        i = bars.values.index(best)
        if bars.coloured:
            asked = (
                *(f"Which bar is the {t}?" for t in tall),
                f"Which bar is {tall[0]}?",
                f"Which color has the {word} value?",
            )
            turns.append(turn(rng, asked, f"The {bars.colours[i]} bar.", f"bar {word}"))
        if bars.labels:
            asked = (
                f"Which label has the {word} value?",
                f"Which category is the {word}?",
                f"What has the {word} value?",
            )
            if not bars.coloured:
                asked = (*asked, f"Which bar is the {tall[0]}?", f"Which bar is the {tall[1]}?")
            turns.append(turn(rng, asked, f"{bars.labels[i]}.", f"bar {word} by label"))
        turns.append(turn(rng, (f"What is the {word} value?",), f"{best}.", "bar value"))
    return turns


def _compared(rng: Random, bars: Bars) -> list[Turn]:
    i, j = rng.sample(range(len(bars.values)), 2)
    if bars.values[i] == bars.values[j]:
        return []
    names = [f"the {c} bar" for c in bars.colours] if bars.coloured else list(bars.labels or ())
    answer = "Yes." if bars.values[i] > bars.values[j] else "No."
    return [
        turn(
            rng,
            (f"Is {names[i]} taller than {names[j]}?", f"Is {names[i]} higher than {names[j]}?"),
            answer,
            "bar compare",
        )
    ]


def ask_lines(rng: Random, chart: Lines, most: int = 8) -> list[tuple[Turn, ...]]:
    turns = [
        turn(
            rng,
            ("How many lines are there?", "Count the lines.", "How many lines does the chart have?"),
            count(len(chart.lines)),
            "line count",
        )
    ]
    for line in chart.lines:
        turns += _trend(rng, f"the {line.colour} line", f"the {line.colour} line", line)
        if line.name:
            turns += _trend(rng, line.name, line.name, line)
            turns.append(
                turn(
                    rng,
                    (f"What color is {line.name}?", f"Which color is the line of {line.name}?"),
                    f"{line.colour.capitalize()}.",
                    "legend colour",
                )
            )
            turns.append(
                turn(
                    rng,
                    (
                        f"What is the {line.colour} line called?",
                        f"Which run is the {line.colour} line?",
                        f"What is the name of the {line.colour} line?",
                    ),
                    f"{line.name}.",
                    "legend name",
                )
            )
    told = [f"the {line.colour} line {story(line)}" for line in chart.lines]
    turns.append(turn(rng, READ, f"A line chart: {listing(told)}.", "line read"))
    if chart.title:
        turns.append(_title(rng, chart.title))
    turns.append(
        turn(rng, ("Is the axis logarithmic?", "Is the scale logarithmic?"), "Yes." if chart.log else "No.", "line log")
    )
    talks = [*dialogues(rng, turns, most), *_and_the_other(rng, chart)]
    if rng.random() < 0.3:
        talks.append((talk.cannot_tell_chart(rng),))
    return talks


def _and_the_other(rng: Random, chart: Lines) -> list[tuple[Turn, ...]]:
    """When one line goes wrong, and then when another does."""
    told = []
    for line in chart.lines:
        found = [
            t for t in _trend(rng, f"the {line.colour} line", f"the {line.colour} line", line) if t.kind == "line wrong"
        ]
        told += [(line, found[0])] if found else []
    if len(told) < 2 or rng.random() < 0.4:
        return []
    (_, first), (line, second) = rng.sample(told, 2)
    name = f"the {line.colour} line"
    asked = (f"And for {name}?", f"And {name}?", f"And when for {name}?", f"What about {name}?")
    return [(first, turn(rng, asked, second.answer, "line follow"))]


def story(line: Line) -> str:
    return {
        "up": "goes up", "down": "goes down", "flat": "stays flat", "spike": f"is flat with a spike at step {line.step}",
        "drop": f"is flat with a drop at step {line.step}", "wrong": f"goes down until step {line.step} and then up again",
    }[line.trend]  # fmt: skip


def _trend(rng: Random, name: str, subject: str, line: Line) -> list[Turn]:
    """What is asked of one line, by its colour or by its name in the legend: then its colour opens the answer."""
    named = line.colour not in name
    by, start = (" by name" if named else ""), f"The {line.colour} line"

    def at(verb: str) -> str:
        return f"{start} {verb} at step {line.step}." if named else f"At step {line.step}."

    turns = [
        turn(
            rng,
            (f"What is the trend of {name}?", f"Does {name} go up or down?", f"How does {name} develop?"),
            f"{start} {story(line)}.",
            f"line trend{by}",
        )
    ]
    wrong = (
        f"When did things start to go wrong for {name}?", f"At which step did things start to go wrong for {name}?",
        f"At which step does {name} go wrong?", f"When does {name} start to go wrong?",
    )  # fmt: skip
    lowest, spikes = (f"Where is the lowest point of {name}?",), (f"Where is the peak of {name}?",)
    if line.trend == "wrong":
        turns.append(turn(rng, wrong, at("goes wrong"), f"line wrong{by}"))
        turns.append(turn(rng, wrong, at("goes wrong"), f"line wrong{by}"))
        turns.append(turn(rng, (*lowest, f"When is {name} lowest?"), at("is lowest"), f"line step{by}"))
    elif line.trend == "spike":
        asked = (f"At which step does {name} spike?", f"When does {name} spike?", *spikes, wrong[0])
        turns.append(turn(rng, asked, at("spikes"), f"line step{by}"))
    elif line.trend == "drop":
        dips = (f"At which step does {name} drop?", f"When does {name} dip?", *lowest)
        turns.append(turn(rng, dips, at("drops"), f"line step{by}"))
    elif line.trend == "down":
        answer = (
            f"{start} goes down all the way: nothing goes wrong for {subject}."
            if named
            else f"Nothing goes wrong: {subject} goes down all the way."
        )
        turns.append(turn(rng, wrong[:2], answer, f"line wrong{by}"))
    return turns
