"""MMLU: multiple choice in fifty-seven subjects, without images."""

from collections.abc import Iterator

from pixtral_cli.chat.message import user
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.scoring.metrics import multiple_choice
from pixtral_cli.evals.task import (
    CHOICE_LETTERS,
    BadRow,
    DatasetRow,
    HubSource,
    Question,
    Task,
    lettered_choices,
    scorer,
)


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    choices = row.texts("choices")
    answer = row.values.get("answer")
    if not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise BadRow("column 'answer' is not the index of a choice")
    text = f"{row.text('question')}\n{lettered_choices(choices)}\n{prompts['letter']}"
    subject = row.text("subject", "")
    yield Question(str(row.index), (user(text),), (CHOICE_LETTERS[answer],), (subject,) if subject else ())


TASK = Task(
    name="mmlu",
    title="MMLU (test; asked with reasoning and without examples)",
    source=HubSource("cais/mmlu", "all/test-*.parquet"),
    ask=ask,
    metrics=("multiple_choice",),
    score=scorer(multiple_choice=multiple_choice),
    max_tokens=1024,
    published={"Pixtral report (5 examples)": 0.692},
)
