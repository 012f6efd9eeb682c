"""Prepares a run from its options: data, prompts, judge, and the recorded settings that answers depend on."""

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

RECORDED_SAMPLING = ("temperature", "top_p", "seed", "max_tokens")  # besides `stop`, which is recorded as a list
MAX_HASHED = 200_000_000  # bytes of weights up to which they are identified by their hash


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """The options of `pixtral eval`. `model`: model, revision and engine as they are recorded."""

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
            "Add --allow-exec, best in a container: it is not a sandbox",
        )
    run_prompts = prompts.load_published(options.checkout, task.name) if options.checkout else prompts.Prompts()
    judge = _judge(options, run_prompts, keys_file)
    data = _open_dataset(options)
    limit = options.limit if options.limit and options.limit < len(data) else None
    return EvalPlan(task, data, run_prompts, options.sampling, engine, judge, limit, options.seed)


def _open_dataset(options: EvalOptions) -> datasets.Dataset:
    task = options.task
    if options.folder:
        return datasets.open_local(options.folder, task.source)
    if task.folder:
        return replace(datasets.open_local(task.folder), name=task.name)
    if task.source:
        return datasets.open_hub(task.source, offline=options.offline)
    raise UsageError(f"{task.name} has no data of its own", "Give a folder that holds some: --data DIR")


def _judge(options: EvalOptions, run_prompts: prompts.Prompts, keys_file: Path) -> Judge | None:
    """The judge of a judged task, else None. Raises UsageError when none is named."""
    if options.task.judged is None:
        return None
    if not options.judge_model or not options.judge_url:
        raise UsageError(f"{options.task.name} needs a model that judges", "Name it: --judge MODEL --judge-url URL")
    from pixtral_cli.engines.remote import keys
    from pixtral_cli.engines.remote.client import ApiClient
    from pixtral_cli.engines.remote.engine import RemoteEngine
    from pixtral_cli.engines.remote.errors import parse_endpoint

    endpoint = parse_endpoint(options.judge_url)
    judge_key = os.environ.get("PIXTRAL_JUDGE_KEY", "").strip()
    key = keys.checked(judge_key, "PIXTRAL_JUDGE_KEY") if judge_key else keys.find(endpoint.base_url, keys_file)
    engine = RemoteEngine(ApiClient(replace(endpoint, key=key)), options.judge_model)
    return Judge(engine, run_prompts[options.task.judged.prompt], options.task.judged.highest)


def open_or_create_run(
    options: EvalOptions, plan: EvalPlan, home: Path, folder: Path | None = None, *, fresh: bool = False
) -> Run:
    """The run in `folder`, else in the folder below `home` that is named after its settings.

    Raises UsageError, PixtralError.
    """
    about = run_settings(options, plan)
    return run_folder.create_run(folder or home / run_folder.run_name(about), about, len(plan.rows()), fresh=fresh)


def current_versions(plan: EvalPlan) -> dict[str, Any]:
    """The versions of this process, of the engine's server and of the judge's server. Raises NetworkError."""
    current: dict[str, Any] = dict(versions.local_versions())
    if reported := engine_versions(plan.engine):
        current["server"] = reported
    if plan.judge and (reported := engine_versions(plan.judge.engine)):
        current["judge"] = reported
    return current


def run_settings(options: EvalOptions, plan: EvalPlan) -> dict[str, Any]:
    """All settings that answers and scores depend on, as JSON."""
    judge = plan.judge
    texts = json.dumps(plan.prompts.texts, sort_keys=True).encode()
    return {
        "task": options.task.name,
        "data": {"name": plan.data.name, "revision": plan.data.revision},
        "prompts": {"source": plan.prompts.source, "sha256": hashlib.sha256(texts).hexdigest()},
        "model": dict(options.model),
        "sampling": {name: getattr(options.sampling, name) for name in RECORDED_SAMPLING}
        | {"stop": list(options.sampling.stop)},
        "limit": plan.limit,
        "seed": options.seed,
        "judge": {"model": options.judge_model, "url": options.judge_url, "instructions": judge.instructions}
        if judge
        else None,
    }


def weights_revision(folder: Path) -> str | None:
    """The identity of consolidated.safetensors: its hash up to `MAX_HASHED` bytes, else its size; None without it."""
    try:
        file = folder / "consolidated.safetensors"
        size = file.stat().st_size
        if size > MAX_HASHED:
            return f"{size} bytes"
        with file.open("rb") as stream:
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    except OSError:
        return None
