"""`pixtral eval`: measure a model on a task, show runs and compare them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixtral_cli.cli.common import options
from pixtral_cli.cli.common.flags import EngineFlags, expand_flags
from pixtral_cli.cli.common.help import INPUT, OUTPUT, SAMPLING, CommandGroup, GroupedCommand
from pixtral_cli.limits import MAX_TEMPERATURE

if TYPE_CHECKING:
    pass


class TaskGroup(CommandGroup):
    """`pixtral eval TASK` is `pixtral eval run TASK`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        known = not args or args[0].startswith("-") or args[0] in self.commands
        return super().resolve_command(ctx, args if known else ["run", *args])

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Completes task names as well as commands."""
        from click.shell_completion import CompletionItem

        offered = [] if incomplete.startswith("-") else [name for name in _task_names() if name.startswith(incomplete)]
        return [*(CompletionItem(name) for name in offered), *super().shell_complete(ctx, incomplete)]


def _task_names() -> list[str]:
    from pixtral_cli.evals import task_registry

    return task_registry.task_names()


def _run_names() -> list[str]:
    """The names of the recorded runs that are safe in a shell."""
    from pixtral_cli import config
    from pixtral_cli.cli.common.completers import is_shell_safe

    names = sorted(file.parent.name for file in (config.paths().data / "evals").glob("*/run.json"))
    return [name for name in names if is_shell_safe(name)]


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
    typer.Option(
        "--data",
        rich_help_panel=INPUT,
        metavar="DIR",
        help="Rows as parquet or JSONL.  [default: the hub]",
        show_default=False,
    ),
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        rich_help_panel=INPUT,
        metavar="DIR",
        help="Published prompts, from a checkout of mistral-evals.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        rich_help_panel=INPUT,
        metavar="N",
        min=1,
        help="So many rows, drawn by the seed.",
        show_default=False,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed", rich_help_panel=SAMPLING, metavar="N", help="Draws the rows of --limit; goes to the engine too."
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency", metavar="N", min=1, max=256, help="Rows asked at a time.  [default: 1; vLLM: 32 a replica]", show_default=False
    ),
]  # fmt: skip
Temperature = Annotated[
    float,
    typer.Option(
        "--temperature", rich_help_panel=SAMPLING, metavar="NUMBER", min=0, max=MAX_TEMPERATURE, help="0 is greedy."
    ),
]
JudgeModel = Annotated[
    str | None,
    typer.Option(
        "--judge", metavar="MODEL", help="The model that judges; its key: PIXTRAL_JUDGE_KEY.", show_default=False
    ),
]
JudgeURL = Annotated[
    str | None, typer.Option("--judge-url", metavar="URL", help="Server of the judge.", show_default=False)
]
AllowExec = Annotated[bool, typer.Option("--allow-exec", help="Let humaneval run what the model writes. No sandbox.")]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", rich_help_panel=OUTPUT, metavar="DIR", help="Folder of this run.", show_default=False
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", rich_help_panel=OUTPUT, help="Forget what this run has already asked.")]
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
    concurrency: Concurrency = None,
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

    Every answered row is saved at once; the same command resumes a run that was stopped.
    """
    from pixtral_cli import config
    from pixtral_cli.cli.jobs import evaluation

    request = evaluation.EvalRequest(
        task, model, data, prompts, judge, judge_url, limit, seed, concurrency, temperature, top_p, max_tokens, output,
        fresh, allow_exec, quiet,
    )  # fmt: skip
    evaluation.run(request, engine.apply(config.load()).override(plain=plain or None))


def _print(text: str) -> None:
    """Print text without control characters: names in it come from servers and data sets."""
    from pixtral_cli.util.sanitize import clean

    typer.echo(clean(text))


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
    from pixtral_cli.cli.jobs import recorded_runs

    rows = recorded_runs.list_runs()
    if format is options.ListFormat.json:
        return _print_json({"runs": rows})
    if not rows:
        typer.echo("There are no runs yet. Begin one: pixtral eval TASK", err=True)
    for row in rows:
        _print(recorded_runs.format_row(row))
    return None


@app.command()
def show(
    run: RunName,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where the page goes.  [default: report.html beside it]",
            show_default=False,
        ),
    ] = None,
    most: Annotated[
        int, typer.Option("--questions", metavar="N", min=1, help="So many on the page, wrong ones first.")
    ] = 500,
) -> None:
    """Print a run's scores and write an HTML page.

    The page has the pictures, questions and answers, wrong ones first.
    """
    from pixtral_cli.cli.jobs.recorded_runs import open_run
    from pixtral_cli.evals import report, report_html
    from pixtral_cli.util import atomic

    task, folder_run = open_run(run)
    records = folder_run.records()
    _print(report.run_table(task, folder_run, records))
    target = output or folder_run.folder / "report.html"
    if output is None and target.is_symlink():  # a run from somebody else: the link could point to one of our files
        target.unlink()
    atomic.write(target, report_html.render_html(task, folder_run, records, most=most))
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
    from pixtral_cli.cli.jobs.recorded_runs import open_run
    from pixtral_cli.errors import UsageError
    from pixtral_cli.evals import report

    opened = [open_run(run) for run in runs]
    if len({task.name for task, _ in opened}) > 1:
        raise UsageError("These are runs of different tasks", "Compare runs of one task")
    _print(report.comparison_table(opened[0][0], [run for _, run in opened]))
