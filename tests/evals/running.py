"""A task's whole run over its small set, and the parts of it that must be the same with every engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pixtral_cli.chat.engine import Engine, Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.evals import datasets, run_folder, runner, task_registry
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.runner import EvalPlan
from pixtral_cli.evals.scoring.judge import Judge
from tests.evals.sets import folder

JUDGED = ["mm-mt-bench", "mt-bench"]
ITS_OWN = ("seconds", "completion_tokens")  # vLLM counts the end of text as a token


def run(
    name: str, at: Path, engine: Engine, judge: Engine | None = None, max_tokens: int = 2048, limit: int | None = None
) -> list[dict[str, Any]]:
    task = task_registry.get_task(name)
    judging = Judge(judge, "Be fair.", 10) if judge else None
    sampling = Sampling(temperature=0.0, seed=0, max_tokens=max_tokens)
    data = datasets.open_local(task.folder or folder(name, at / "data"), task.source)
    into = run_folder.create_run(at / "run", {"task": name, "model": {"name": "m"}}, len(data))
    list(runner.run_eval(EvalPlan(task, data, Prompts(), sampling, engine, judging, limit), into))
    return into.records()


def rating(messages: Sequence[Message]) -> str:
    """A judge that likes long answers."""
    return f"[[{1 + len(messages[-1].text) % 10}]]"


def alike(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was asked, answered and scored: all of a record but its time and its count of tokens."""
    return [{name: value for name, value in record.items() if name not in ITS_OWN} for record in found]
