"""The tasks by name; each is a module in `tasks` that is imported when needed."""

from importlib import import_module
from pathlib import Path

from pixtral_cli.errors import UsageError
from pixtral_cli.evals.task import Task
from pixtral_cli.util.nearest import nearest


def task_names() -> list[str]:
    """The names of all tasks, sorted: their modules' names with hyphens."""
    return sorted(file.stem.replace("_", "-") for file in (Path(__file__).parent / "tasks").glob("[!_]*.py"))


def get_task(name: str) -> Task:
    """The task of that name. Raises UsageError, which lists the tasks, for an unknown one."""
    if name not in task_names():
        near = nearest(name, task_names())
        hint = f"Did you mean {near}?" if near else f"Tasks: {', '.join(task_names())}"
        raise UsageError(f"There is no task named {name!r}", hint)
    task = import_module(f"pixtral_cli.evals.tasks.{name.replace('-', '_')}").TASK
    assert isinstance(task, Task)
    return task
