"""From what a user asks for to a run: data, prompts, judge, and the record of everything that decides an answer."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pixtral_cli import versions
from pixtral_cli.chat.engine import Engine, Sampling, engine_versions
from pixtral_cli.errors import UsageError
from pixtral_cli.evals import datasets, prompts, run_folder
from pixtral_cli.evals.run_folder import Run
from pixtral_cli.evals.runner import EvalPlan
from pixtral_cli.evals.scoring.judge import Judge
from pixtral_cli.evals.task import Task

MAX_HASHED = 200_000_000  # bytes of weights that are hashed to name them


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """What was asked for. `model` names model, revision and engine, as the record keeps them."""

    task: Task
    model: Mapping[str, Any]
    sampling: Sampling
    folder: Path | None = None
    checkout: Path | None = None
    judge_model: str | None = None
    judge_url: str | None = None
    limit: int | None = None
    seed: int = 0
    allow_exec: bool = False
    offline: bool = False


def make_plan(wanted: EvalOptions, engine: Engine, keys_file: Path) -> EvalPlan:
    """What will be asked. Raises UsageError, NetworkError when data, prompts or judge are not there."""
    task = wanted.task
    if task.judged is None and (wanted.judge_model or wanted.judge_url):
        raise UsageError(f"{task.name} has metrics and needs no judge", "Leave --judge and --judge-url out")
    if task.executes and not wanted.allow_exec:
        raise UsageError(
            f"{task.name} runs programs that the model writes",
            "Add --allow-exec, best in a container: it is no sandbox",
        )
    own = prompts.load_published(wanted.checkout, task.name) if wanted.checkout else prompts.Prompts()
    judge = _judge(wanted, own, keys_file)
    data = _open_dataset(wanted)
    limit = wanted.limit if wanted.limit and wanted.limit < len(data) else None
    return EvalPlan(task, data, own, wanted.sampling, engine, judge, limit, wanted.seed)


def _open_dataset(wanted: EvalOptions) -> datasets.Dataset:
    task = wanted.task
    if wanted.folder:
        return datasets.open_local(wanted.folder, task.source)
    if task.folder:
        return replace(datasets.open_local(task.folder), name=task.name)
    if task.source:
        return datasets.open_hub(task.source, offline=wanted.offline)
    raise UsageError(f"{task.name} has no data of its own", "Give a folder that holds some: --data DIR")


def _judge(wanted: EvalOptions, own: prompts.Prompts, keys_file: Path) -> Judge | None:
    if wanted.task.judged is None:
        return None
    if not wanted.judge_model or not wanted.judge_url:
        raise UsageError(f"{wanted.task.name} needs a model that judges", "Name it: --judge MODEL --judge-url URL")
    from pixtral_cli.engines.remote import keys
    from pixtral_cli.engines.remote.client import ApiClient
    from pixtral_cli.engines.remote.engine import RemoteEngine
    from pixtral_cli.engines.remote.errors import parse_endpoint

    to = parse_endpoint(wanted.judge_url)
    own_key = os.environ.get("PIXTRAL_JUDGE_KEY", "").strip()
    key = keys.checked(own_key, "PIXTRAL_JUDGE_KEY") if own_key else keys.find(to.host, keys_file)
    engine = RemoteEngine(ApiClient(replace(to, key=key)), wanted.judge_model)
    return Judge(engine, own[wanted.task.judged.prompt], wanted.task.judged.best)


def open_or_create_run(
    wanted: EvalOptions, planned: EvalPlan, home: Path, folder: Path | None = None, *, fresh: bool = False
) -> Run:
    """The run's folder: the named one, or one in `home` whose name follows from what is run."""
    about = run_settings(wanted, planned)
    return run_folder.create_run(folder or home / run_folder.run_name(about), about, len(planned.rows()), fresh=fresh)


def current_versions(planned: EvalPlan) -> dict[str, Any]:
    """What runs now, by version: here, and what the servers of engine and judge say of themselves. Raises Unreachable."""
    found: dict[str, Any] = dict(versions.local_versions())
    if there := engine_versions(planned.engine):
        found["server"] = there
    if planned.judge and (there := engine_versions(planned.judge.engine)):
        found["judge"] = there
    return found


def run_settings(wanted: EvalOptions, planned: EvalPlan) -> dict[str, Any]:
    """Everything that decides an answer and its mark, as JSON."""
    judge = planned.judge
    texts = json.dumps(planned.prompts.texts, sort_keys=True).encode()
    return {
        "task": wanted.task.name,
        "data": {"name": planned.data.name, "revision": planned.data.revision},
        "prompts": {"source": planned.prompts.source, "sha256": hashlib.sha256(texts).hexdigest()},
        "model": dict(wanted.model),
        "sampling": {name: value for name, value in asdict(wanted.sampling).items() if name != "schema"}
        | {"stop": list(wanted.sampling.stop)},
        "limit": planned.limit,
        "seed": wanted.seed,
        "judge": {"model": wanted.judge_model, "url": wanted.judge_url, "instructions": judge.instructions}
        if judge
        else None,
    }


def weights_revision(folder: Path) -> str | None:
    """What tells a checkpoint of a plain folder from another: the hash of its weights where they are small, else their size."""
    try:
        file = folder / "consolidated.safetensors"
        size = file.stat().st_size
        if size > MAX_HASHED:
            return f"{size} bytes"
        with file.open("rb") as stream:
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    except OSError:
        return None
