"""MT-Bench: two-turn conversations without images; the second question follows the model's own first answer. Judged."""

from collections.abc import Iterator

from pixtral_cli.chat.message import user
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.task import BadRow, DatasetRow, HubSource, JudgeSettings, Question, Task


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    turns = row.texts("prompt" if "prompt" in row.values else "turns")
    if not turns:
        raise BadRow("column 'prompt' is empty")
    references = row.texts("reference") if row.values.get("reference") else []
    category = row.text("category", "")
    key = row.text("prompt_id", row.text("question_id", str(row.index)))
    for last in range(len(turns)):
        groups = (*filter(None, [category]), f"turn {last + 1}")
        reference = tuple(references[last : last + 1])
        yield Question(f"{key}.{last + 1}", (user(turns[0]),), reference, groups, tuple(turns[1 : last + 1]))


TASK = Task(
    name="mt-bench",
    title="MT-Bench",
    source=HubSource("HuggingFaceH4/mt_bench_prompts", "raw/question.jsonl"),
    ask=ask,
    metrics=("judge",),
    judged=JudgeSettings("judge-text"),
    max_tokens=1024,
    published={"Pixtral report": 7.68},
)
