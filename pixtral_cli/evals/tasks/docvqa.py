"""DocVQA: reading scanned documents."""

from collections.abc import Iterator

from pixtral_cli.chat.message import user
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.scoring.metrics import anls
from pixtral_cli.evals.task import DatasetRow, HubSource, Question, Task, scorer


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    message = user(f"{row.text('question')}\n{prompts['word']}", [row.image("image")])
    kinds = row.values.get("question_types")
    groups = tuple(map(str, kinds)) if isinstance(kinds, list) else ()
    yield Question(row.text("questionId", str(row.index)), (message,), tuple(row.texts("answers")), groups)


TASK = Task(
    name="docvqa",
    title="DocVQA (validation)",
    source=HubSource("lmms-lab/DocVQA", "DocVQA/validation-*.parquet"),
    ask=ask,
    metrics=("anls",),
    score=scorer(anls=anls),
    max_tokens=10,
    published={"Pixtral report": 0.907},
)
