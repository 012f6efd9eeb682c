"""IF-Eval: instructions whose being followed a program can check, strictly and loosely."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pixtral_cli.chat.message import user
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.scoring.instructions import CHECKS, follows, follows_loosely
from pixtral_cli.evals.task import BadRow, DatasetRow, HubSource, Mark, Question, Task

METRICS = ("prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose")


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    required = instructions(row)
    groups = tuple(dict.fromkeys(kind.split(":")[0] for kind, _ in required))
    given = {"instructions": required}
    images = [row.image("image")] if row.values.get("image") else []
    yield Question(row.text("key", str(row.index)), (user(row.text("prompt"), images),), (), groups, given=given)


def instructions(row: DatasetRow) -> list[tuple[str, dict[str, Any]]]:
    """Each instruction with what it is given; values that the data set fills with null are left out."""
    kinds, given = row.texts("instruction_id_list"), row.values.get("kwargs")
    if not isinstance(given, list) or len(given) != len(kinds):
        raise BadRow("column 'kwargs' does not fit 'instruction_id_list'")
    if strange := [kind for kind in kinds if kind not in CHECKS]:
        raise BadRow(f"unknown instruction {strange[0]!r}")
    required = [
        (kind, {name: value for name, value in values.items() if value is not None})
        for kind, values in zip(kinds, given, strict=True)
    ]
    try:
        for kind, values in required:
            follows("Any words.", kind, values)
    except (KeyError, TypeError, AttributeError) as error:
        raise BadRow(f"column 'kwargs' does not suit {kind}: {error}") from error
    return required


def mark(question: Question, answers: Sequence[str]) -> Mapping[str, Mark]:
    required = question.given["instructions"]
    strict = [follows(answers[-1], kind, given) for kind, given in required]
    loose = [follows_loosely(answers[-1], kind, given) for kind, given in required]
    marks = {}
    for name, followed in (("strict", strict), ("loose", loose)):
        marks[f"prompt_{name}"] = Mark(float(all(followed)))
        marks[f"instruction_{name}"] = Mark(sum(followed) / len(followed), len(followed))
    return marks


TASK = Task(
    name="if-eval",
    title="IF-Eval",
    source=HubSource("google/IFEval", "*.jsonl"),
    ask=ask,
    metrics=METRICS,
    mark=mark,
    max_tokens=2048,
    published={"model card": 0.613},
)
