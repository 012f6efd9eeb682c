"""HumanEval: Python functions to complete; their tests are run, so it needs --allow-exec."""

from collections.abc import Iterator, Mapping, Sequence

from pixtral_cli.chat.message import user
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.scoring import execution
from pixtral_cli.evals.task import DatasetRow, HubSource, Question, Score, Task


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    prompt = row.text("prompt")
    metadata = {"prompt": prompt, "test": row.text("test"), "entry_point": row.text("entry_point")}
    message = user(f"{prompts['code']}\n```python\n{prompt}\n```")
    yield Question(
        row.text("task_id", str(row.index)), (message,), (row.text("canonical_solution", ""),), metadata=metadata
    )


def score(question: Question, answers: Sequence[str]) -> Mapping[str, Score]:
    metadata = question.metadata
    passed = execution.program_passes(
        execution.build_program(metadata["prompt"], answers[-1], metadata["test"], metadata["entry_point"])
    )
    return {"pass_at_1": Score(float(passed))}


TASK = Task(
    name="humaneval",
    title="HumanEval (runs what the model writes)",
    source=HubSource("openai/openai_humaneval", "openai_humaneval/test-*.parquet"),
    ask=ask,
    metrics=("pass_at_1",),
    score=score,
    max_tokens=1024,
    published={"Pixtral report": 0.720},
    executes=True,
)
