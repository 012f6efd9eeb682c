"""`pixtral ask`: one question on the command line."""

from enum import StrEnum
from typing import Annotated

import typer

from pixtral_cli.cli.common import options
from pixtral_cli.cli.common.flags import (
    ConversationFlags,
    EngineFlags,
    RequestFlags,
    SamplingFlags,
    TemplateFlags,
    ToolFlags,
    expand_flags,
)
from pixtral_cli.cli.common.help import INPUT, OUTPUT


class AnswerFormat(StrEnum):
    """The format of an answer: text, one JSON object, one object per chunk; of a list, CSV or one record per line."""

    text = "text"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    records = "records"


Question = Annotated[str, typer.Argument(help="The question; text on stdin is added to it.", show_default=False)]
Extract = Annotated[
    str | None,
    typer.Option(
        "--extract",
        "-x",
        metavar="LANG",
        help="Only the code block in this language; any: the first.",
        rich_help_panel=OUTPUT,
    ),
]
Format = Annotated[
    AnswerFormat,
    typer.Option(
        "--format",
        metavar="text|json|jsonl|csv|records",
        rich_help_panel=OUTPUT,
        help="json: one object; jsonl: one per chunk; csv and records: with --schema.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Check everything and show what would be sent; load no weights.", rich_help_panel=OUTPUT
    ),
]
NoStream = Annotated[
    bool, typer.Option("--no-stream", help="Show the answer when it is complete.", rich_help_panel=OUTPUT)
]
NoStdin = Annotated[bool, typer.Option("--no-stdin", help="Do not read stdin.", rich_help_panel=INPUT)]
Watch = Annotated[
    bool, typer.Option("--watch", help="Answer again whenever a named picture changes on disk.", rich_help_panel=INPUT)
]


Save = Annotated[
    str | None,
    typer.Option(
        "--save", metavar="NAME", help="Ask nothing: save the flags as a template.", rich_help_panel=INPUT,
        show_default=False,
    ),
]  # fmt: skip


@expand_flags
def ask(
    context: typer.Context,
    *,
    question: Question = "",
    image: options.Images = None,
    file: options.TextFiles = None,
    model: options.Model = None,
    system: options.System = None,
    template: TemplateFlags,
    output: options.Output = None,
    extract: Extract = None,
    schema: options.Schema = None,
    format: Format = AnswerFormat.text,
    conversation: ConversationFlags,
    sampling: SamplingFlags,
    once: RequestFlags,
    tools: ToolFlags,
    engine: EngineFlags,
    keep_alive: options.KeepAlive = None,
    save: Save = None,
    dry_run: DryRun = False,
    watch: Watch = False,
    no_stream: NoStream = False,
    no_stdin: NoStdin = False,
    plain: options.Plain = False,
    raw: options.Raw = False,
    thinking: options.Thinking = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Ask one question, about images or about text.

    The answer goes to stdout, everything else to stderr. {1} and {2} in the question place images inside it.
    """
    from pixtral_cli.cli.common.template_options import not_kept
    from pixtral_cli.cli.jobs import ask as job

    if save:
        job.check_savable(once)
        return job.save_template(save, question, system, model, schema, extract, sampling, not_kept(context))
    request = job.AskRequest(
        question, image or (), file or (), model, system, output, extract, schema, format, keep_alive, dry_run=dry_run,
        watch=watch, stream=not no_stream, read_stdin=not no_stdin, plain=plain, raw=raw, thinking=thinking,
        quiet=quiet, verbose=verbose, tools=tools.tool or (), mcp=tools.mcp or (),
        yes_tools=tools.yes_tools,
    )  # fmt: skip
    return job.run(request, template, conversation, sampling, once, engine)
