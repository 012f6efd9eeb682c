"""The recorded runs of evaluations: found by name, and listed."""

from datetime import datetime
from pathlib import Path
from typing import Any

from pixtral_cli import config
from pixtral_cli.errors import UsageError
from pixtral_cli.evals import report, run_folder, task_registry
from pixtral_cli.evals.run_folder import SETTINGS_FILE, Run
from pixtral_cli.evals.task import Task
from pixtral_cli.sessions.transcript import iso_time


def find_run_folder(name: str) -> Path:
    """The folder of a run by its path, its name or the beginning of its name.

    Raises UsageError when several names begin so.
    """
    path, runs = Path(name), _runs_folder()
    if (path / SETTINGS_FILE).exists():
        return path
    matches = sorted(file.parent for file in runs.glob(f"*/{SETTINGS_FILE}") if file.parent.name.startswith(name))
    if len(matches) > 1 and matches[0].name != name:
        names = ", ".join(folder.name for folder in matches[:5]) + (", …" if len(matches) > 5 else "")
        raise UsageError(f"{len(matches)} runs begin with {name}: {names}", "Give more letters of its name")
    return matches[0] if matches and name else runs / name


def open_run(name: str) -> tuple[Task, Run]:
    """A run and its task, by the run's name or folder. Raises UsageError."""
    run = run_folder.open_run(find_run_folder(name))
    return task_registry.get_task(run.about["task"]), run


def list_runs() -> list[dict[str, Any]]:
    """A row for each run, the newest last.

    `run`, `changed` (ISO 8601), `task`, `model`, `settings` that are no defaults, `error` of a run that cannot be read,
    and of the others `metric`, its mean `score` (None without answers), `questions` and `finished`.
    """
    files = sorted(_runs_folder().glob(f"*/{SETTINGS_FILE}"), key=lambda file: file.stat().st_mtime)
    return [{"run": file.parent.name, "changed": iso_time(file.stat().st_mtime), **_row(file.parent)} for file in files]


def _row(folder: Path) -> dict[str, Any]:
    try:
        task, run = open_run(str(folder))
        model = run.about["model"]
        settings = {**run.about.get("sampling", {}), **_engine_settings(model)}
        about = {"task": task.name, "model": model["name"], "settings": settings}
        return about | report.main_result(task, run)
    except UsageError as error:  # its task no longer exists, or it is damaged: the others are listed all the same
        return {"task": None, "model": None, "settings": {}, "error": error.message}


def format_row(row: dict[str, Any]) -> str:
    """A row of `list_runs` on one line, its time in the local time zone."""
    when = datetime.fromisoformat(row["changed"]).astimezone()
    day = f"{when:%Y-%m-%d %H:%M}"
    result = f"{'–':>6}  {row['error']}" if "error" in row else report.format_result(row)
    settings = " ".join(f"{name}={value}" for name, value in row["settings"].items() if value not in (None, [], {}))
    return f"{row['run']:40} {day}  {result}" + f"  {settings}" * bool(settings)


def _engine_settings(model: dict[str, Any]) -> dict[str, Any]:
    """The engine settings of a run that are not defaults, without name and revision of the model."""
    defaults = {"engine": "local", "device": "auto", "dtype": "auto"}
    return {
        key: value for key, value in model.items() if key not in ("name", "revision") and defaults.get(key) != value
    }


def _runs_folder() -> Path:
    return config.paths().data / "evals"
