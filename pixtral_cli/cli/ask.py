"""`pixtral ask`: one question on the command line. What it does, `terminal.once` knows; which engine, `engines`."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixtral_cli.cli.common import options
from pixtral_cli.cli.common.flags import ConversationFlags, EngineFlags, SamplingFlags, TemplateFlags, expand_flags
from pixtral_cli.cli.common.help import INPUT, OUTPUT
from pixtral_cli.limits import SAMPLING_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pixtral_cli.chat.engine import Sampling
    from pixtral_cli.chat.templates import Template
    from pixtral_cli.cli.common.engine_setup import EngineChoice
    from pixtral_cli.cli.common.resumption import Resumed
    from pixtral_cli.config import Config
    from pixtral_cli.terminal.ask.ask import Request
    from pixtral_cli.terminal.output.output import Format as OutputFormat
    from pixtral_cli.terminal.output.output import Output
    from pixtral_cli.terminal.output.structured import Layout


class AnswerFormat(StrEnum):
    """How an answer leaves: as text, as one JSON object, as one object a chunk; a list as CSV, or as a record a line."""

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
        help="json: one object; jsonl: one a chunk; csv and records: with --schema.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Check all and show what would be sent; load no weights.", rich_help_panel=OUTPUT),
]
NoStream = Annotated[
    bool, typer.Option("--no-stream", help="Show the answer when it is whole.", rich_help_panel=OUTPUT)
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
    from dataclasses import replace

    from pixtral_cli import config
    from pixtral_cli.cli.common import engine_setup, template_options
    from pixtral_cli.cli.common.resumption import find_resumed, given_sampling, parse_schema, place_of
    from pixtral_cli.sessions.library import Sessions
    from pixtral_cli.terminal.ask.ask import Request
    from pixtral_cli.terminal.output.output import choose_output

    if save:
        return _save(save, question, system, model, schema, extract, sampling)
    last = find_resumed(conversation, Sessions(config.paths().data))
    settings = last.engine_under(config.load(), engine) if last else config.load()
    settings = engine.apply(sampling.apply(settings), keep_alive).override(
        system=system, plain=plain or None, no_log=conversation.no_log or dry_run or watch or None
    )
    if dry_run:
        settings = replace(settings, keep_alive=None)
    engine_setup.check_keep_alive(settings)
    chosen_template, values = template_options.load_template(template)
    if chosen_template:
        schema, extract = template_options.schema_and_extract(chosen_template, schema, extract)
        question, settings = _with_template(chosen_template, question, values, settings)
    wanted = parse_schema(schema)
    note = engine_setup.note_printer(quiet=quiet)
    chosen, settings = _choose_engine(
        model or (chosen_template.model if chosen_template else None), last, settings, note
    )
    asked_with = replace(engine_setup.sampling(settings, chosen.name, sampling.stop), schema=wanted)
    if last:
        given = given_sampling(sampling) | set(chosen_template.sampling if chosen_template else ())
        asked_with = _as_before(
            last, asked_with, chosen.name, place_of(settings), given, note, through_template=bool(chosen_template)
        )
    _check_layout(asked_with.schema, format, extract)
    layout, whole = ANSWER_FORMATS[format]
    out = choose_output(
        format=whole, plain=bool(settings.plain), raw=raw, stream=not no_stream, quiet=quiet, model=chosen.name,
        thinking=thinking, folding=settings.thinking,
    )  # fmt: skip
    target = output if str(output) not in ("-", "/dev/stdout") else None
    request = Request(
        question, image or (), asked_with, read_stdin=not no_stdin, extract=extract or "",
        layout=layout, file=target, verbose=verbose, offline=bool(settings.offline), files=file or (),
        inputs=[schema] if schema else (),
    )  # fmt: skip
    going_on = last.session.id if last else None
    return _run(request, chosen, settings, out, going_on, dry_run=dry_run, watch=watch)


def _save(
    name: str,
    question: str,
    system: str | None,
    model: str | None,
    schema: str | None,
    extract: str | None,
    flags: SamplingFlags,
) -> None:
    """A template of what was typed; the words that it is asked with come at the end unless the question places them."""
    from pixtral_cli.terminal.views import templates

    templates.save_template(
        name,
        {
            "prompt": question or "$input", "system": system, "model": model, "schema": schema, "extract": extract,
            **{name: getattr(flags, name) for name in SAMPLING_SETTINGS},
        },
    )  # fmt: skip


def _with_template(
    template: "Template", question: str, values: dict[str, str], settings: "Config"
) -> tuple[str, "Config"]:
    """The question in its template; what the template sets stands beneath what the flags set."""
    from pixtral_cli.cli.common import template_options

    filled = template.fill(question, values)
    return filled.prompt, template_options.with_template_defaults(settings, template, filled.system)


def _check_layout(schema: dict[str, Any] | None, format: AnswerFormat, extract: str | None) -> None:
    """Raises UsageError for what makes no sense with a schema or without one."""
    from pixtral_cli.errors import UsageError

    if schema is None and format in (AnswerFormat.csv, AnswerFormat.records):
        raise UsageError(f"--format {format} wants --schema", "Such as: --schema '[name, price:float]'")
    if schema is not None and extract:
        raise UsageError("--extract takes a code block, and --schema makes the answer JSON", "Leave one of them out")


def _choose_engine(
    model: str | None, last: "Resumed | None", settings: "Config", note: "Callable[[str], None]"
) -> "tuple[EngineChoice, Config]":
    """Who answers: the model that is named, else the one that answered before, else the usual one."""
    from pixtral_cli.cli.common import engine_setup
    from pixtral_cli.errors import ModelError

    before = last.model(settings) if last and not model else None
    if before:
        try:
            return engine_setup.choose_engine(before, settings, note)
        except ModelError as error:
            note(error.message)
    return engine_setup.choose_engine(model, settings, note)


def _as_before(
    last: "Resumed",
    now: "Sampling",
    model: str,
    place: tuple[str, str],
    given: "Collection[str]",
    note: "Callable[[str], None]",
    *,
    through_template: bool,
) -> "Sampling":
    """The sampling of the answers before, without what is given anew; says what is restored and what is not."""
    from dataclasses import replace

    from pixtral_cli.sessions.answer_settings import as_before_notes

    kept = last.settings
    restored = kept.restored(now, model, {*given, "schema"})  # one answer in JSON does not make the next one so
    for line in as_before_notes(kept, restored, model, *place):
        note(line)
    if kept.sampling.get("schema") and now.schema is None:
        note("The schema of the answer before is not used: --schema")
    if kept.template and not through_template:
        note(f"The template {kept.template} of this conversation is not used: -t {kept.template}")
    return replace(now, **restored)


ANSWER_FORMATS: "dict[AnswerFormat, tuple[Layout, OutputFormat]]" = {
    AnswerFormat.text: ("", "text"),
    AnswerFormat.json: ("", "json"),
    AnswerFormat.jsonl: ("", "jsonl"),
    AnswerFormat.csv: ("csv", "text"),
    AnswerFormat.records: ("records", "text"),
}


def _run(
    request: "Request",
    chosen: "EngineChoice",
    settings: "Config",
    out: "Output",
    going_on: str | None,
    *,
    dry_run: bool,
    watch: bool,
) -> None:
    import sys
    from contextlib import closing
    from dataclasses import replace

    from pixtral_cli import config
    from pixtral_cli.chat.engine import LoadableEngine
    from pixtral_cli.cli.common import engine_setup
    from pixtral_cli.cli.common.resumption import place_of
    from pixtral_cli.config import Config
    from pixtral_cli.sessions.answer_settings import AnswerSettings
    from pixtral_cli.sessions.library import Sessions
    from pixtral_cli.terminal.ask import ask as once

    request = once.read_piped(once.expand_folders(request, out), out, sys.stdin)
    asked = once.build_message(request, out, sys.stdin)
    if chosen.note:
        out.note(chosen.note)
    sessions = Sessions(config.paths().data)
    usual, place = engine_setup.sampling(Config(), chosen.name), place_of(settings)
    kept = once.ConversationChoice(
        going_on, log=not settings.no_log, system=settings.system, model=chosen.name,
        settings=AnswerSettings.of(chosen.name, *place, request.sampling, usual),
    )  # fmt: skip
    with (
        closing(engine_setup.open_with_spinner(chosen, out)) as engine,
        once.open_conversation(sessions, kept, out) as (conversation, session),
    ):
        asked = once.with_staged(asked, conversation, out)
        out = replace(out, session=session, doing=lambda: engine.doing if isinstance(engine, LoadableEngine) else "")
        if watch and not dry_run:
            once.watch(request, asked, conversation, engine, out)
        else:
            (once.dry_run if dry_run else once.answer)(request, asked, conversation, engine, out)
