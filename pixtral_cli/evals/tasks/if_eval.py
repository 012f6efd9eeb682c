"""IF-Eval: instructions that a program can check, strictly and loosely."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pixtral_cli.chat.message import user
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.scoring.instructions import CHECKS, follows, follows_loosely
from pixtral_cli.evals.task import BadRow, DatasetRow, HubSource, Question, Score, Task

METRICS = ("prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose")


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    required = instructions(row)
    groups = tuple(dict.fromkeys(kind.split(":")[0] for kind, _ in required))
    metadata = {"instructions": required}
    images = [row.image("image")] if row.values.get("image") else []
    yield Question(row.text("key", str(row.index)), (user(row.text("prompt"), images),), (), groups, metadata=metadata)


def instructions(row: DatasetRow) -> list[tuple[str, dict[str, Any]]]:
    """The row's instructions with their arguments, without those that the data set fills with null. Raises BadRow."""
    kinds, arguments = row.texts("instruction_id_list"), row.values.get("kwargs")
    if not isinstance(arguments, list) or len(arguments) != len(kinds):
        raise BadRow("column 'kwargs' does not match 'instruction_id_list'")
    if unknown := [kind for kind in kinds if kind not in CHECKS]:
        raise BadRow(f"unknown instruction {unknown[0]!r}")
    required = [
        (kind, {name: value for name, value in values.items() if value is not None})
        for kind, values in zip(kinds, arguments, strict=True)
    ]
    try:
        for kind, values in required:
            follows("Any words.", kind, values)
    except (KeyError, TypeError, AttributeError) as error:
        raise BadRow(f"column 'kwargs' does not match {kind}: {error}") from error
    return required


def score(question: Question, answers: Sequence[str]) -> Mapping[str, Score]:
    required = question.metadata["instructions"]
    strict = [follows(answers[-1], kind, arguments) for kind, arguments in required]
    loose = [follows_loosely(answers[-1], kind, arguments) for kind, arguments in required]
    scores = {}
    for name, followed in (("strict", strict), ("loose", loose)):
        scores[f"prompt_{name}"] = Score(float(all(followed)))
        scores[f"instruction_{name}"] = Score(sum(followed) / len(followed), len(followed))
    return scores


TASK = Task(
    name="if-eval",
    title="IF-Eval",
    source=HubSource("google/IFEval", "*.jsonl"),
    ask=ask,
    metrics=METRICS,
    score=score,
    max_tokens=2048,
    published={"model card": 0.613},
)
