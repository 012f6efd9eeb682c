"""Charts as tables: questions that carry a schema as the product words them, answered in JSON. Draws nothing."""

import json
from random import Random
from typing import Any

from demo.drawing.charts import Bars
from demo.questions.phrases import loosely
from demo.samples import Turn
from pixtral_cli.chat.message import user
from pixtral_cli.structured import shorthand
from pixtral_cli.structured.schema import with_schema_prompt

ASKED = (
    "Read the chart.",
    "List the bars.",
    "Read the values.",
    "Make a table of the chart.",
    "List the colors and values.",
    "What does the chart show?",
)
COLOURS = ("color", "colour", "bar", "name")
LABELS = ("label", "name", "category", "bar")
VALUES = ("value", "height", "number", "count")


def ask_table(rng: Random, bars: Bars) -> Turn:
    """The bars as a list of records, bare or in an object, the names of the fields by the schema of the question."""
    by_label = not bars.coloured or (bars.labels is not None and rng.random() < 0.4)
    shown = bars.labels or bars.colours if by_label else bars.colours
    name, value = rng.choice(LABELS if by_label else COLOURS), rng.choice(VALUES)
    rows: Any = [{name: one, value: count} for one, count in zip(shown, bars.values, strict=True)]
    schema = f"[{name}, {value}:int]"
    if rng.random() < 0.3:
        around = rng.choice(("bars", "items", "chart"))
        rows, schema = {around: rows}, f"{around}{schema}"
    question = with_schema_prompt([user(loosely(rng, rng.choice(ASKED)))], shorthand.parse(schema))[0].text
    return Turn(question, json.dumps(rows, ensure_ascii=False), "bar table")
