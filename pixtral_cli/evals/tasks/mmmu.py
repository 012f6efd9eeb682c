"""MMMU: college questions of thirty subjects, images inside the text."""

import ast
from collections.abc import Iterator

from pixtral_cli.chat.message import Message
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.scoring.metrics import anywhere_relaxed, explicit_relaxed
from pixtral_cli.evals.task import BadRow, DatasetRow, HubSource, Question, Task, lettered_choices, marker, place_images


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    text = row.text("question")
    if row.text("question_type") == "multiple-choice":
        text += "\n" + lettered_choices(_listed(row.text("options")))
    answer = row.text("answer")
    references = _listed(answer) if "[" in answer else [answer]
    parts = place_images(text, lambda number: row.image(f"image_{number}"))
    if parts and isinstance(parts[-1], str):
        parts = (*parts[:-1], f"{parts[-1]}\n{prompts['choice']}")
    else:
        parts = (*parts, prompts["choice"])
    subject = row.text("id", "").removeprefix("validation_").rpartition("_")[0]
    yield Question(
        row.text("id", str(row.index)), (Message("user", parts),), tuple(references), (subject,) if subject else ()
    )


def _listed(text: str) -> list[str]:
    """A list that the data set writes as Python does."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise BadRow(f"{text[:40]!r} is no list") from error
    return [str(one) for one in (value if isinstance(value, list) else [value])]


TASK = Task(
    name="mmmu",
    title="MMMU (validation)",
    source=HubSource("lmms-lab/MMMU", "data/validation-*.parquet"),
    ask=ask,
    metrics=("explicit_relaxed", "anywhere_relaxed"),
    mark=marker(explicit_relaxed=explicit_relaxed, anywhere_relaxed=anywhere_relaxed),
    max_tokens=2048,
    published={"Pixtral report": 0.520, "model card": 0.525},
)
