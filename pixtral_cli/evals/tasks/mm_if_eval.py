"""MM-IF-Eval: instructions about an image, from a folder of the user's; rows as in IF-Eval, with an image."""

from collections.abc import Iterator

from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.task import BadRow, DatasetRow, Question, Task
from pixtral_cli.evals.tasks import if_eval


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    if not row.values.get("image"):
        raise BadRow("column 'image' holds no image")
    return if_eval.ask(row, prompts)


TASK = Task(
    name="mm-if-eval",
    title="MM-IF-Eval (your own folder: --data)",
    source=None,
    ask=ask,
    metrics=if_eval.METRICS,
    score=if_eval.score,
    max_tokens=2048,
    published={"model card": 0.527},
)
