"""MathVista: mathematics in figures, charts and photographs."""

from collections.abc import Iterator

from pixtral_cli.chat.message import user
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.scoring.metrics import anywhere_relaxed, explicit_relaxed
from pixtral_cli.evals.task import CHOICE_LETTERS, BadRow, DatasetRow, HubSource, Question, Task, scorer


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    answer = row.text("answer")
    if row.values.get("choices"):
        choices = row.texts("choices")
        if answer not in choices:
            raise BadRow("column 'answer' is not one of the choices")
        answer = CHOICE_LETTERS[choices.index(answer)]
    metadata = row.values.get("metadata")
    groups = (
        tuple(str(metadata[name]) for name in ("task", "category") if metadata.get(name))
        if isinstance(metadata, dict)
        else ()
    )
    message = user(f"{row.text('query')}\n{prompts['choice']}", [row.image("decoded_image")])
    yield Question(row.text("pid", str(row.index)), (message,), (answer,), groups)


TASK = Task(
    name="mathvista",
    title="MathVista (testmini)",
    source=HubSource("AI4Math/MathVista", "data/testmini-*.parquet"),
    ask=ask,
    metrics=("explicit_relaxed", "anywhere_relaxed"),
    score=scorer(explicit_relaxed=explicit_relaxed, anywhere_relaxed=anywhere_relaxed),
    max_tokens=2048,
    published={"Pixtral report": 0.583, "model card": 0.580},
)
