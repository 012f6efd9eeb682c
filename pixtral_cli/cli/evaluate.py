"""`pixtral eval`: measure a model on a task, show runs and compare them. What is measured and how, `evals` knows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixtral_cli.cli.common import options
from pixtral_cli.cli.common.flags import EngineFlags, expand_flags
from pixtral_cli.cli.common.help import GroupedCommand
from pixtral_cli.limits import MAX_TEMPERATURE

if TYPE_CHECKING:
    from pixtral_cli.chat.engine import Engine
    from pixtral_cli.config import Config
    from pixtral_cli.evals.run_folder import Run
    from pixtral_cli.evals.runner import EvalPlan
    from pixtral_cli.evals.task import Task
    from pixtral_cli.terminal.output.output import Output


class TaskGroup(typer.core.TyperGroup):
    """`pixtral eval TASK` is `pixtral eval run TASK`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = not args or args[0].startswith("-") or args[0] in self.commands
        return super().resolve_command(ctx, args if known else ["run", *args])

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Tab offers the tasks beside the commands."""
        from click.shell_completion import CompletionItem

        offered = [] if incomplete.startswith("-") else [one for one in _task_names() if one.startswith(incomplete)]
        return [*(CompletionItem(name) for name in offered), *super().shell_complete(ctx, incomplete)]


def _task_names() -> list[str]:
    from pixtral_cli.evals import task_registry

    return task_registry.task_names()


def _run_names() -> list[str]:
    from pixtral_cli import config
    from pixtral_cli.cli.common.completers import is_shell_safe

    found = sorted(file.parent.name for file in (config.paths().data / "evals").glob("*/run.json"))
    return [name for name in found if is_shell_safe(name)]


app = typer.Typer(
    cls=TaskGroup,
    invoke_without_command=True,
    subcommand_metavar="TASK|COMMAND [ARGS]...",
    rich_markup_mode=None,
)

TaskName = Annotated[
    str, typer.Argument(metavar="TASK", help="A name (`pixtral eval tasks`).", autocompletion=_task_names)
]
DataFolder = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Rows as parquet or JSONL.  [default: the hub]", show_default=False),
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        "--prompts", metavar="DIR", help="Published prompts, from a checkout of mistral-evals.", show_default=False
    ),
]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, help="So many rows, drawn by the seed.", show_default=False)
]
Seed = Annotated[int, typer.Option("--seed", help="Draws the rows of --limit; goes to the engine too.")]
Concurrency = Annotated[int, typer.Option("--concurrency", min=1, max=256, help="Rows asked at a time.")]
Temperature = Annotated[float, typer.Option("--temperature", min=0, max=MAX_TEMPERATURE, help="0 is greedy.")]
JudgeModel = Annotated[
    str | None,
    typer.Option("--judge", metavar="MODEL", help="Who judges; its key: PIXTRAL_JUDGE_KEY.", show_default=False),
]
JudgeURL = Annotated[
    str | None, typer.Option("--judge-url", metavar="URL", help="Where the judge is.", show_default=False)
]
AllowExec = Annotated[bool, typer.Option("--allow-exec", help="Let humaneval run what the model writes. No sandbox.")]
RunFolder = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder of this run.", show_default=False)
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Forget what this run has already asked.")]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A name (`pixtral eval list`) or a folder.", autocompletion=_run_names)
]


@app.callback()
def evaluate(context: typer.Context) -> None:
    """Measure a model: pixtral eval TASK. The tasks: pixtral eval tasks."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("run", hidden=True, cls=GroupedCommand)
@expand_flags
def run_(
    *,
    task: TaskName,
    model: options.Model = None,
    data: DataFolder = None,
    prompts: Prompts = None,
    judge: JudgeModel = None,
    judge_url: JudgeURL = None,
    limit: Limit = None,
    seed: Seed = 0,
    concurrency: Concurrency = 1,
    temperature: Temperature = 0.0,
    top_p: options.TopP = None,
    max_tokens: options.MaxTokens = None,
    engine: EngineFlags,
    output: RunFolder = None,
    fresh: Fresh = False,
    allow_exec: AllowExec = False,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
) -> None:
    """Ask every row of a task, mark the answers and print the scores.

    Rows are on disk as they come; the same command goes on where it stopped.
    """
    from contextlib import closing

    from pixtral_cli import config
    from pixtral_cli.chat.engine import Sampling
    from pixtral_cli.cli.common import engine_setup
    from pixtral_cli.errors import BatchError
    from pixtral_cli.evals import runner, setup, task_registry
    from pixtral_cli.terminal.output.output import choose_output as screen
    from pixtral_cli.util.inputs import refuse_overwriting_inputs

    chosen = task_registry.get_task(task)
    if output and data:
        refuse_overwriting_inputs(output, [data])
    settings = engine.apply(config.load()).override(plain=plain or None)
    opened, about = _open_engine(model, settings, quiet)
    with closing(opened):
        sampling = Sampling(temperature, 1.0 if top_p is None else top_p, seed, (), max_tokens or chosen.max_tokens)
        wanted = setup.EvalOptions(
            chosen, about, sampling, data, prompts, judge, judge_url, limit, seed, allow_exec, bool(settings.offline)
        )
        paths = config.paths()
        planned = setup.make_plan(wanted, opened, paths.config_file.with_name("keys.json"))
        run = setup.open_or_create_run(wanted, planned, paths.data / "evals", output, fresh=fresh)
        out = screen(plain=bool(settings.plain), quiet=quiet)
        if runner.remaining_rows(planned, run):
            engine_setup.load_with_spinner(opened, out)  # before the first row, whose time is measured
            run = _note_changed_versions(run, run.ran_with(setup.current_versions(planned)), out)
        _run_and_report(planned, run, concurrency, out)
    if not quiet:
        typer.echo(f"Recorded in {run.folder}; with pictures: pixtral eval show {output or run.folder.name}", err=True)
    if failed := sum(1 for record in run.records() if record["error"]):
        raise BatchError(f"Failed questions: {failed}", "The same command asks them again")


def _note_changed_versions(before: "Run", run: "Run", out: "Output") -> "Run":
    """The run; what has changed since it was last gone on with is told."""
    from pixtral_cli.evals import report

    if before.versions and (said := report.changed_versions(before.versions[-1], run.versions[-1])):
        out.note(said)
    return run


def _run_and_report(planned: "EvalPlan", run: "Run", concurrency: int, out: "Output") -> None:
    import sys
    from contextlib import closing

    from pixtral_cli.evals import report, runner
    from pixtral_cli.terminal.output.progress_line import ProgressLine

    counter = ProgressLine(sys.stderr, quiet=out.quiet, plain=not out.spinner)
    last = None
    try:
        with closing(runner.run_eval(planned, run, concurrency=concurrency)) as going:
            for last in going:
                counter.show(report.progress_text(planned.task, last))
    finally:
        counter.end()
        if last and last.done < last.total:
            out.note(report.stopped_text(last))
        if planned.judge:
            planned.judge.engine.close()
    _print(report.run_table(planned.task, run, run.records()))


def _print(text: str) -> None:
    """Names in it come from servers and data sets."""
    from pixtral_cli.util.sanitize import clean

    typer.echo(clean(text))


def _open_engine(model: str | None, settings: "Config", quiet: bool) -> "tuple[Engine, dict[str, Any]]":
    """The engine, and what the record says of model and engine."""
    from pixtral_cli.cli.common.engine_setup import API, choose_engine, choose_model, note_printer, open_model
    from pixtral_cli.evals.setup import weights_revision

    if settings.base_url or settings.engine == API:
        remote, _ = choose_engine(model, settings)
        about = {"name": remote.name, "revision": None, "engine": API, "base_url": settings.base_url}
        return remote.open(), about
    chosen, settings = choose_model(model, settings)
    if chosen.note and not quiet:
        typer.echo(chosen.note, err=True)
    return open_model(chosen, settings, note_printer(quiet=quiet)), {
        "name": chosen.name, "revision": chosen.revision or weights_revision(chosen.folder), "engine": settings.engine or "local",
        "device": settings.device or "auto", "dtype": settings.dtype or "auto", **_quantize_setting(settings), **_vllm_settings(settings),
    }  # fmt: skip


def _quantize_setting(settings: "Config") -> dict[str, Any]:
    """The quantization, if one was chosen: it decides answers."""
    return {"quantize": settings.quantize} if settings.quantize else {}


def _vllm_settings(settings: "Config") -> "dict[str, Any]":
    """How vLLM spreads the model and what else it is told, if it is the engine: it may decide an answer."""
    from pixtral_cli.cli.common.engine_setup import vllm_launch

    started = vllm_launch(settings)
    if started is None:
        return {}
    sizes = {"tensor_parallel_size": started.tensor_parallel, "pipeline_parallel_size": started.pipeline_parallel}
    return {**sizes, "vllm_args": list(started.arguments)}


@app.command("tasks")
def tasks_(format: options.ListFormatOption = options.ListFormat.text) -> None:
    """List the tasks."""
    from pixtral_cli.evals import task_registry

    if format is options.ListFormat.json:
        tasks = [{"name": name, "title": task_registry.get_task(name).title} for name in _task_names()]
        return _print_json({"tasks": tasks})
    for name in task_registry.task_names():
        typer.echo(f"{name:14} {task_registry.get_task(name).title}")
    return None


def _print_json(value: "dict[str, Any]") -> None:
    from pixtral_cli.terminal.output.output import choose_output, dumps

    out = choose_output()
    out.write(dumps(value, out.stdout.encoding) + "\n")


@app.command("list")
def list_(format: options.ListFormatOption = options.ListFormat.text) -> None:
    """List the runs, the newest last."""
    import time

    from pixtral_cli import config
    from pixtral_cli.errors import UsageError
    from pixtral_cli.evals import report

    runs: list[dict[str, Any]] = []
    for file in sorted((config.paths().data / "evals").glob("*/run.json"), key=lambda file: file.stat().st_mtime):
        row: dict[str, Any] = {"run": file.parent.name, "changed": file.stat().st_mtime, "settings": {}}
        try:
            task, run = _open_run(str(file.parent))
            row |= {
                "task": task.name,
                "result": report.short_text(task, run),
                "settings": {**run.about.get("sampling", {}), **_how_it_ran(run.about["model"])},
            }
        except UsageError as error:  # of a task that is no more, or damaged: the others are listed all the same
            row |= {"task": None, "result": f"     –  {error.message}"}
        runs.append(row)
    if format is options.ListFormat.json:
        return _print_json({"runs": runs})
    for row in runs:
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(row["changed"]))
        how = " ".join(f"{name}={value}" for name, value in row["settings"].items() if value not in (None, [], {}))
        _print(f"{row['run']:40} {day}  {row['result']}" + f"  {how}" * bool(how))
    return None


@app.command()
def show(
    run: RunName,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Where the page goes.  [default: report.html beside it]", show_default=False
        ),
    ] = None,
    most: Annotated[int, typer.Option("--questions", min=1, help="So many on the page, wrong ones first.")] = 500,
) -> None:
    """Print a run's scores and write an HTML page.

    The page has the pictures, questions and answers, wrong ones first.
    """
    from pixtral_cli.evals import report, report_html

    task, found = _open_run(run)
    listed = found.records()
    _print(report.run_table(task, found, listed))
    target = output or found.folder / "report.html"
    target.write_text(report_html.render_html(task, found, listed, most=most), encoding="utf-8")
    typer.echo(f"Wrote {target}", err=True)


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Names or folders of runs of one task.", autocompletion=_run_names),
    ],
) -> None:
    """Put runs and published scores side by side.

    Each difference from the first run comes with its significance.
    """
    from pixtral_cli.errors import UsageError
    from pixtral_cli.evals import report

    found = [_open_run(run) for run in runs]
    if len({task.name for task, _ in found}) > 1:
        raise UsageError("These are runs of different tasks", "Compare runs of one task")
    _print(report.comparison_table(found[0][0], [run for _, run in found]))


def _how_it_ran(model: "dict[str, Any]") -> "dict[str, Any]":
    """What a run's record says of the engine, without what its name says already and what is as usual."""
    usual = {"engine": "local", "device": "auto", "dtype": "auto"}
    return {key: value for key, value in model.items() if key not in ("name", "revision") and usual.get(key) != value}


def _run_folder(name: str) -> Path:
    """The folder of the run that a name, the beginning of one or a path means. Raises UsageError for several."""
    from pixtral_cli import config
    from pixtral_cli.errors import UsageError
    from pixtral_cli.evals import run_folder

    here, runs = Path(name), config.paths().data / "evals"
    if (here / run_folder.SETTINGS_FILE).exists():
        return here
    begun = sorted(
        file.parent for file in runs.glob(f"*/{run_folder.SETTINGS_FILE}") if file.parent.name.startswith(name)
    )
    if len(begun) > 1 and begun[0].name != name:
        names = ", ".join(folder.name for folder in begun[:5]) + (", …" if len(begun) > 5 else "")
        raise UsageError(f"{len(begun)} runs begin with {name}: {names}", "Give more letters of its name")
    return begun[0] if begun and name else runs / name


def _open_run(name: str) -> "tuple[Task, Run]":
    from pixtral_cli.evals import run_folder, task_registry

    run = run_folder.open_run(_run_folder(name))
    return task_registry.get_task(run.about["task"]), run
