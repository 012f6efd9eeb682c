"""Sets up a run from its options: data, prompts, judge, and the record of all settings that decide an answer."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
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

SAMPLING = ("temperature", "top_p", "seed", "max_tokens")  # what of the sampling the options set; `stop` as a list
MAX_HASHED = 200_000_000  # bytes of weights that are hashed to name them


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """The options of `pixtral eval`. `model` holds model, revision and engine as they are recorded."""

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


def make_plan(options: EvalOptions, engine: Engine, keys_file: Path) -> EvalPlan:
    """The plan of a run. Raises UsageError or NetworkError when data, prompts or judge are missing."""
    task = options.task
    if task.judged is None and (options.judge_model or options.judge_url):
        raise UsageError(f"{task.name} has metrics and needs no judge", "Leave --judge and --judge-url out")
    if task.executes and not options.allow_exec:
        raise UsageError(
            f"{task.name} runs programs that the model writes",
            "Add --allow-exec, best in a container: it is no sandbox",
        )
    own = prompts.load_published(options.checkout, task.name) if options.checkout else prompts.Prompts()
    judge = _judge(options, own, keys_file)
    data = _open_dataset(options)
    limit = options.limit if options.limit and options.limit < len(data) else None
    return EvalPlan(task, data, own, options.sampling, engine, judge, limit, options.seed)


def _open_dataset(options: EvalOptions) -> datasets.Dataset:
    task = options.task
    if options.folder:
        return datasets.open_local(options.folder, task.source)
    if task.folder:
        return replace(datasets.open_local(task.folder), name=task.name)
    if task.source:
        return datasets.open_hub(task.source, offline=options.offline)
    raise UsageError(f"{task.name} has no data of its own", "Give a folder that holds some: --data DIR")


def _judge(options: EvalOptions, own: prompts.Prompts, keys_file: Path) -> Judge | None:
    if options.task.judged is None:
        return None
    if not options.judge_model or not options.judge_url:
        raise UsageError(f"{options.task.name} needs a model that judges", "Name it: --judge MODEL --judge-url URL")
    from pixtral_cli.engines.remote import keys
    from pixtral_cli.engines.remote.client import ApiClient
    from pixtral_cli.engines.remote.engine import RemoteEngine
    from pixtral_cli.engines.remote.errors import parse_endpoint

    to = parse_endpoint(options.judge_url)
    own_key = os.environ.get("PIXTRAL_JUDGE_KEY", "").strip()
    key = keys.checked(own_key, "PIXTRAL_JUDGE_KEY") if own_key else keys.find(to.base_url, keys_file)
    engine = RemoteEngine(ApiClient(replace(to, key=key)), options.judge_model)
    return Judge(engine, own[options.task.judged.prompt], options.task.judged.best)


def open_or_create_run(
    options: EvalOptions, planned: EvalPlan, home: Path, folder: Path | None = None, *, fresh: bool = False
) -> Run:
    """The run in the given folder, or in one in `home` that is named after its settings."""
    about = run_settings(options, planned)
    return run_folder.create_run(folder or home / run_folder.run_name(about), about, len(planned.rows()), fresh=fresh)


def current_versions(planned: EvalPlan) -> dict[str, Any]:
    """The versions of this process, of the engine's server and of the judge's. Raises Unreachable."""
    current: dict[str, Any] = dict(versions.local_versions())
    if reported := engine_versions(planned.engine):
        current["server"] = reported
    if planned.judge and (reported := engine_versions(planned.judge.engine)):
        current["judge"] = reported
    return current


def run_settings(options: EvalOptions, planned: EvalPlan) -> dict[str, Any]:
    """All settings that decide an answer and its mark, as JSON."""
    judge = planned.judge
    texts = json.dumps(planned.prompts.texts, sort_keys=True).encode()
    return {
        "task": options.task.name,
        "data": {"name": planned.data.name, "revision": planned.data.revision},
        "prompts": {"source": planned.prompts.source, "sha256": hashlib.sha256(texts).hexdigest()},
        "model": dict(options.model),
        "sampling": {name: getattr(options.sampling, name) for name in SAMPLING}
        | {"stop": list(options.sampling.stop)},
        "limit": planned.limit,
        "seed": options.seed,
        "judge": {"model": options.judge_model, "url": options.judge_url, "instructions": judge.instructions}
        if judge
        else None,
    }


def weights_revision(folder: Path) -> str | None:
    """Identifies the weights in a plain folder: their hash if they are small, else their size; None without any."""
    try:
        file = folder / "consolidated.safetensors"
        size = file.stat().st_size
        if size > MAX_HASHED:
            return f"{size} bytes"
        with file.open("rb") as stream:
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    except OSError:
        return None
