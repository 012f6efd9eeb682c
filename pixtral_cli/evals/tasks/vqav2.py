"""VQAv2: short questions about photographs, each answered by ten people."""

from collections.abc import Iterator

from pixtral_cli.chat.message import user
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.scoring.metrics import vqa_match
from pixtral_cli.evals.task import DatasetRow, HubSource, Question, Task, scorer


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    message = user(f"{row.text('question')}\n{prompts['vqa']}", [row.image("image")])
    kind = row.text("answer_type", "")
    yield Question(
        row.text("question_id", str(row.index)), (message,), tuple(row.texts("answers")), (kind,) if kind else ()
    )


TASK = Task(
    name="vqav2",
    title="VQAv2 (validation)",
    source=HubSource("lmms-lab/VQAv2", "data/validation-*.parquet"),
    ask=ask,
    metrics=("vqa_match",),
    score=scorer(vqa_match=vqa_match),
    max_tokens=10,
    published={"Pixtral report": 0.786},
)
