"""ChartQA: questions about charts, by people and by machine."""

from collections.abc import Iterator

from pixtral_cli.chat.message import user
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.scoring.metrics import anywhere_relaxed, explicit_relaxed
from pixtral_cli.evals.task import DatasetRow, HubSource, Question, Task, scorer


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    message = user(f"{row.text('question')}\n{prompts['chart']}", [row.image("image")])
    kind = row.text("type", "")
    yield Question(str(row.index), (message,), tuple(row.texts("answer")), (kind,) if kind else ())


TASK = Task(
    name="chartqa",
    title="ChartQA (test)",
    source=HubSource("lmms-lab/ChartQA", "data/test-*.parquet"),
    ask=ask,
    metrics=("explicit_relaxed", "anywhere_relaxed"),
    score=scorer(explicit_relaxed=explicit_relaxed, anywhere_relaxed=anywhere_relaxed),
    max_tokens=2048,
    published={"Pixtral report": 0.818},
)
