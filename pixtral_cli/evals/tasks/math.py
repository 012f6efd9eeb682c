"""MATH: competition problems whose answer is a formula or a number."""

from collections.abc import Iterator

from pixtral_cli.chat.message import user
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.scoring.metrics import last_boxed, mathematics
from pixtral_cli.evals.task import BadRow, DatasetRow, HubSource, Question, Task, scorer


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    answer = row.text("answer", "") or last_boxed(row.text("solution"))
    if not answer:
        raise BadRow("column 'solution' has no boxed answer")
    groups = tuple(
        filter(
            None, (row.text("subject", row.text("type", "")), f"level {row.text('level', '')}".replace("Level ", ""))
        )
    )
    message = user(f"{row.text('problem')}\n{prompts['math']}")
    yield Question(row.text("unique_id", str(row.index)), (message,), (answer,), groups)


TASK = Task(
    name="math",
    title="MATH (500 problems of its test set)",
    source=HubSource("HuggingFaceH4/MATH-500", "test.jsonl"),
    ask=ask,
    metrics=("mathematics",),
    score=scorer(mathematics=mathematics),
    max_tokens=2048,
    published={"Pixtral report (whole test set)": 0.481},
)
