"""Runs `pixtral eval run`: engine, run folder, progress and report."""

import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from pixtral_cli import config
from pixtral_cli.chat.engine import Engine, Sampling
from pixtral_cli.cli.common import engine_setup
from pixtral_cli.config import Config
from pixtral_cli.errors import BatchError
from pixtral_cli.evals import report, runner, setup, task_registry
from pixtral_cli.evals.run_folder import Run
from pixtral_cli.evals.runner import EvalPlan
from pixtral_cli.evals.task import Task
from pixtral_cli.terminal.output.output import Output, choose_output
from pixtral_cli.terminal.output.progress_line import ProgressLine
from pixtral_cli.util.inputs import refuse_overwriting_inputs
from pixtral_cli.util.sanitize import clean


@dataclass(frozen=True, slots=True)
class EvalRequest:
    """The options of `pixtral eval`, as they are typed."""

    task: str
    model: str | None
    data: Path | None
    prompts: Path | None
    judge: str | None
    judge_url: str | None
    limit: int | None
    seed: int
    concurrency: int | None
    temperature: float
    top_p: float | None
    max_tokens: int | None
    output: Path | None
    fresh: bool
    allow_exec: bool
    quiet: bool


def run(request: EvalRequest, settings: Config) -> None:
    """Ask every row, record the answers and print the scores. Raises BatchError when questions failed."""
    task = task_registry.get_task(request.task)
    if request.output and request.data:
        refuse_overwriting_inputs(request.output, [request.data])
    opened, about = _open_engine(request.model, settings, request.quiet)
    with closing(opened):
        options = _eval_options(request, settings, task, about)
        paths = config.paths()
        plan = setup.make_plan(options, opened, paths.config_file.with_name("keys.json"))
        folder = setup.open_or_create_run(options, plan, paths.data / "evals", request.output, fresh=request.fresh)
        out = choose_output(plain=bool(settings.plain), quiet=request.quiet)
        if runner.remaining_rows(plan, folder):
            engine_setup.load_with_spinner(opened, out)  # before the first row, whose time is measured
            folder = _note_changed_versions(folder, folder.with_versions(setup.current_versions(plan)), out)
        _run_and_report(plan, folder, request.concurrency or engine_setup.parallel_answers(opened, settings, 1), out)
    if not request.quiet:
        name = request.output or folder.folder.name
        engine_setup.print_note(f"Recorded in {folder.folder}; with pictures: pixtral eval show {name}")
    if failed := sum(1 for record in folder.records() if record["error"]):
        raise BatchError(f"Failed questions: {failed}", "The same command asks them again")


def _eval_options(request: EvalRequest, settings: Config, task: Task, about: dict[str, Any]) -> setup.EvalOptions:
    """The options of the command and the settings as the evaluation takes them. `about`: model and engine."""
    top_p = 1.0 if request.top_p is None else request.top_p
    sampling = Sampling(request.temperature, top_p, request.seed, (), request.max_tokens or task.max_tokens)
    return setup.EvalOptions(
        task, about, sampling, request.data, request.prompts, request.judge, request.judge_url, request.limit,
        request.seed, request.allow_exec, bool(settings.offline),
    )  # fmt: skip


def _note_changed_versions(before: Run, run: Run, out: Output) -> Run:
    """Print a note about versions that have changed since the run was last continued; returns `run`."""
    if before.versions and (changes := report.changed_versions(before.versions[-1], run.versions[-1])):
        out.note(changes)
    return run


def _run_and_report(plan: EvalPlan, run: Run, concurrency: int, out: Output) -> None:
    """Ask the remaining rows, show progress and print the table of scores."""
    counter = ProgressLine(sys.stderr, quiet=out.quiet, plain=not out.spinner)
    last = None
    try:
        with closing(runner.run_eval(plan, run, concurrency=concurrency)) as progress:
            for last in progress:
                counter.show(report.progress_text(plan.task, last))
    finally:
        counter.end()
        if last and last.done < last.total:
            out.note(report.stopped_text(last))
        if plan.judge:
            plan.judge.engine.close()
    typer.echo(clean(report.run_table(plan.task, run, run.records())))  # names in it come from servers and data sets


def _open_engine(model: str | None, settings: Config, quiet: bool) -> tuple[Engine, dict[str, Any]]:
    """The engine, and the description of model and engine that is recorded with the run."""
    if settings.base_url or settings.engine == engine_setup.API:
        remote, _ = engine_setup.choose_engine(model, settings)
        about = {"name": remote.name, "revision": None, "engine": engine_setup.API, "base_url": settings.base_url}
        return remote.open(), about
    chosen, settings = engine_setup.choose_model(model, settings)
    if chosen.note and not quiet:
        engine_setup.print_note(chosen.note)
    return engine_setup.open_model(chosen, settings, engine_setup.note_printer(quiet=quiet)), {
        "name": chosen.name, "revision": chosen.revision or setup.weights_revision(chosen.folder), "engine": settings.engine or "local",
        "device": settings.device or "auto", "dtype": settings.dtype or "auto", **_quantize_setting(settings), **_vllm_settings(settings),
    }  # fmt: skip


def _quantize_setting(settings: Config) -> dict[str, Any]:
    """The quantization, if the settings name one; it changes answers."""
    return {"quantize": settings.quantize} if settings.quantize else {}


def _vllm_settings(settings: Config) -> dict[str, Any]:
    """vLLM's parallelism and further arguments, if it is the engine; they may change answers."""
    launch = engine_setup.vllm_launch(settings)
    if launch is None:
        return {}
    sizes = {
        "tensor_parallel_size": launch.tensor_parallel or 1,
        "pipeline_parallel_size": launch.pipeline_parallel or 1,
    }
    return {**sizes, "vllm_args": list(launch.arguments)}
