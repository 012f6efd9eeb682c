"""HumanEval: Python functions to complete; their tests are run, so it needs --allow-exec."""

from collections.abc import Iterator, Mapping, Sequence

from pixtral_cli.chat.message import user
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.scoring import execution
from pixtral_cli.evals.task import DatasetRow, HubSource, Mark, Question, Task


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    prompt = row.text("prompt")
    given = {"prompt": prompt, "test": row.text("test"), "entry_point": row.text("entry_point")}
    message = user(f"{prompts['code']}\n```python\n{prompt}\n```")
    yield Question(row.text("task_id", str(row.index)), (message,), (row.text("canonical_solution", ""),), given=given)


def mark(question: Question, answers: Sequence[str]) -> Mapping[str, Mark]:
    given = question.given
    passed = execution.program_passes(
        execution.build_program(given["prompt"], answers[-1], given["test"], given["entry_point"])
    )
    return {"pass_at_1": Mark(float(passed))}


TASK = Task(
    name="humaneval",
    title="HumanEval (runs what the model writes)",
    source=HubSource("openai/openai_humaneval", "openai_humaneval/test-*.parquet"),
    ask=ask,
    metrics=("pass_at_1",),
    mark=mark,
    max_tokens=1024,
    published={"Pixtral report": 0.720},
    executes=True,
)
