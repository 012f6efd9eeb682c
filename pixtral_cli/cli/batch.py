"""`pixtral batch`: many questions, for which the weights are loaded once."""

from pathlib import Path
from typing import Annotated

import typer

from pixtral_cli.cli.common import options
from pixtral_cli.cli.common.flags import EngineFlags, RequestFlags, SamplingFlags, TemplateFlags, expand_flags
from pixtral_cli.cli.common.help import ENGINE, INPUT, OUTPUT

FileOrQuestion = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FILE|QUESTION",
        help="Rows as JSON lines or CSV (-: stdin); with --glob the question.",
        show_default=False,
    ),
]
Glob = Annotated[
    list[str] | None,
    typer.Option(
        "--glob",
        rich_help_panel=INPUT,
        metavar="PATTERN",
        help="Ask about each file that matches. Quote it; repeat it.",
        show_default=False,
    ),
]
OutputFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        rich_help_panel=OUTPUT,
        metavar="FILE",
        help="Write here, CSV if it ends so; go on after a stop.  [default: stdout]",
        show_default=False,
    ),
]
Schema = Annotated[
    str | None,
    typer.Option(
        "--schema", rich_help_panel=OUTPUT, metavar="FILE|FIELDS", help="Each answer is JSON of this schema: 'name, price:float'.", show_default=False
    ),
]  # fmt: skip
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", rich_help_panel=INPUT, metavar="N", min=1, help="Only the first so many rows.", show_default=False
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency",
        rich_help_panel=ENGINE,
        metavar="N",
        min=1,
        max=256,
        help="Rows asked at a time.  [default: 4; vLLM: 32 per replica; servers: 8]",
        show_default=False,
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", rich_help_panel=OUTPUT, help="Forget what the output holds and begin anew.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", rich_help_panel=OUTPUT, help="Ask the rows again whose lines are errors.")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", rich_help_panel=OUTPUT, help="Check and count rows, images and tokens; answer nothing."),
]


@expand_flags
def batch(
    *,
    words: FileOrQuestion = None,
    glob: Glob = None,
    output: OutputFile = None,
    model: options.Model = None,
    system: options.System = None,
    schema: Schema = None,
    template: TemplateFlags,
    limit: Limit = None,
    concurrency: Concurrency = None,
    fresh: Fresh = False,
    retry_failed: RetryFailed = False,
    sampling: SamplingFlags,
    each: RequestFlags,
    engine: EngineFlags,
    keep_alive: options.KeepAlive = None,
    allow_private: options.AllowPrivate = False,
    formats: options.Formats = options.ImageFormats.common,
    dry_run: DryRun = False,
    plain: options.Plain = False,
    quiet: options.Quiet = False,
) -> None:
    """Answer a file of questions, or one about many files.

    Rows are OpenAI's batch lines, {"prompt": …, "images": […]}, or CSV with such columns; with --glob, each file that matches.

    One line of output for each row, in order. Stopped or killed, the same command goes on where it was.
    """
    from pixtral_cli import config
    from pixtral_cli.cli.common import engine_setup, template_options
    from pixtral_cli.cli.jobs import batch as job
    from pixtral_cli.cli.jobs.batch_request import BatchRequest, check_request
    from pixtral_cli.terminal.output.output import choose_output

    chosen_template, values = template_options.load_template(template)
    request = BatchRequest(
        words or (), glob or (), output, schema, sampling.stop or (), chosen_template, values, limit, concurrency, fresh,
        retry_failed, allow_private, formats is options.ImageFormats.all, each.fields(),
    )  # fmt: skip
    settings = engine.apply(sampling.apply(config.load()), keep_alive).override(system=system, plain=plain or None)
    engine_setup.check_keep_alive(settings)
    check_request(request)
    if chosen_template:
        settings = template_options.with_template_defaults(settings, chosen_template, request.filled("").system)
    chosen, settings = engine_setup.choose_engine(model, settings, engine_setup.note_printer(quiet=quiet))
    out = choose_output(plain=bool(settings.plain), quiet=quiet, model=chosen.name)
    if chosen.note:
        out.note(chosen.note)
    (job.preview if dry_run else job.answer)(request, chosen, settings, out)
