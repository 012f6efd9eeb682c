"""MMMU: college questions of thirty subjects, with images inside the text."""

import ast
from collections.abc import Iterator

from pixtral_cli.chat.message import Message
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.scoring.metrics import anywhere_relaxed, explicit_relaxed
from pixtral_cli.evals.task import BadRow, DatasetRow, HubSource, Question, Task, lettered_choices, place_images, scorer


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    text = row.text("question")
    if row.text("question_type") == "multiple-choice":
        text += "\n" + lettered_choices(_parse_list(row.text("options")))
    answer = row.text("answer")
    references = _parse_list(answer) if "[" in answer else [answer]
    parts = place_images(text, lambda number: row.image(f"image_{number}"))
    if parts and isinstance(parts[-1], str):
        parts = (*parts[:-1], f"{parts[-1]}\n{prompts['choice']}")
    else:
        parts = (*parts, prompts["choice"])
    subject = row.text("id", "").removeprefix("validation_").rpartition("_")[0]
    yield Question(
        row.text("id", str(row.index)), (Message("user", parts),), tuple(references), (subject,) if subject else ()
    )


def _parse_list(text: str) -> list[str]:
    """The texts of a list in Python's notation, as the data set has it. Raises BadRow."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise BadRow(f"{text[:40]!r} is not a list") from error
    return [str(entry) for entry in (value if isinstance(value, list) else [value])]


TASK = Task(
    name="mmmu",
    title="MMMU (validation)",
    source=HubSource("lmms-lab/MMMU", "data/validation-*.parquet"),
    ask=ask,
    metrics=("explicit_relaxed", "anywhere_relaxed"),
    score=scorer(explicit_relaxed=explicit_relaxed, anywhere_relaxed=anywhere_relaxed),
    max_tokens=2048,
    published={"Pixtral report": 0.520, "model card": 0.525},
)
