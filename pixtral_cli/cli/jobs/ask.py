"""Runs `pixtral ask`: template, resumed conversation, engine, sampling and output."""

import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pixtral_cli import config
from pixtral_cli.chat.engine import LoadableEngine, Sampling
from pixtral_cli.chat.templates import Template
from pixtral_cli.chat.toolbox.engine import RunnableTool
from pixtral_cli.cli.ask import AnswerFormat
from pixtral_cli.cli.common import engine_setup, template_options
from pixtral_cli.cli.common.engine_setup import EngineChoice
from pixtral_cli.cli.common.flags import (
    ConversationFlags,
    EngineFlags,
    RequestFlags,
    SamplingFlags,
    TemplateFlags,
    open_tools,
)
from pixtral_cli.cli.common.resumption import Resumed, engine_and_server, find_resumed, given_sampling, parse_schema
from pixtral_cli.config import Config
from pixtral_cli.errors import ModelError, UsageError
from pixtral_cli.limits import SAMPLING_SETTINGS
from pixtral_cli.sessions.answer_settings import AnswerSettings, resume_notes
from pixtral_cli.sessions.library import Sessions
from pixtral_cli.terminal.ask import ask as asking
from pixtral_cli.terminal.ask.dry_run import dry_run
from pixtral_cli.terminal.ask.request import Request, build_message, expand_folders, read_piped
from pixtral_cli.terminal.ask.tool_calls import check_can_ask
from pixtral_cli.terminal.output.output import Format, Output, choose_output
from pixtral_cli.terminal.output.structured import Layout

ANSWER_FORMATS: dict[AnswerFormat, tuple[Layout, Format]] = {
    AnswerFormat.text: ("", "text"),
    AnswerFormat.json: ("", "json"),
    AnswerFormat.jsonl: ("", "jsonl"),
    AnswerFormat.csv: ("csv", "text"),
    AnswerFormat.records: ("records", "text"),
}


@dataclass(frozen=True, slots=True)
class AskRequest:
    """The options of `pixtral ask` that belong to no group of flags, as typed, and those of the tools."""

    question: str
    images: Sequence[str]
    files: Sequence[str]
    model: str | None
    system: str | None
    output: Path | None
    extract: str | None
    schema: str | None
    format: AnswerFormat
    keep_alive: str | None
    dry_run: bool
    watch: bool
    stream: bool
    read_stdin: bool
    plain: bool
    raw: bool
    thinking: bool | None
    quiet: bool
    verbose: bool
    tools: Sequence[str] = ()
    mcp: Sequence[str] = ()
    yes_tools: bool = False


def run(
    request: AskRequest,
    template: TemplateFlags,
    conversation: ConversationFlags,
    sampling: SamplingFlags,
    once: RequestFlags,
    engine: EngineFlags,
) -> None:
    """Ask the question and show the answer. Raises PixtralError."""
    of_this_request = once.fields()
    note = engine_setup.note_printer(quiet=request.quiet)
    resumed = find_resumed(conversation, Sessions(config.paths().data), note)
    settings = _settings(request, resumed, conversation, sampling, engine)
    chosen_template, values = template_options.load_template(template)
    if chosen_template:
        request, settings = _with_template(chosen_template, values, request, settings)
    chosen, settings = _choose_engine(request.model, resumed, settings, note)
    chosen_sampling = replace(
        engine_setup.sampling(settings, chosen.name, sampling.stop), schema=parse_schema(request.schema)
    )
    if resumed:
        given = given_sampling(sampling) | set(chosen_template.sampling if chosen_template else ())
        chosen_sampling = _restored_sampling(
            resumed,
            chosen_sampling,
            chosen.name,
            engine_and_server(settings),
            given,
            note,
            through_template=bool(chosen_template),
        )
    chosen_sampling = replace(chosen_sampling, **of_this_request)
    _check_layout(chosen_sampling.schema, request.format, request.extract)
    _check_several(request, chosen_sampling)
    _answer(request, chosen_sampling, chosen, settings, resumed)


def check_savable(once: RequestFlags) -> None:
    """Raises UsageError for flags that a template does not keep."""
    if once.given:
        raise UsageError(f"{once.given[0]} is for one request: a template does not keep it", "Leave it out")


def save_template(
    name: str,
    question: str,
    system: str | None,
    model: str | None,
    schema: str | None,
    extract: str | None,
    flags: SamplingFlags,
    left_out: Sequence[str],
) -> None:
    """Save the options as a template. `left_out`: flags that were given, which a template does not keep.

    Without a question, the template's prompt is the question it is used with ($input).
    """
    from pixtral_cli.terminal.views import templates

    templates.save_template(
        name,
        {
            "prompt": question or "$input", "system": system, "model": model, "schema": schema, "extract": extract,
            **{name: getattr(flags, name) for name in SAMPLING_SETTINGS},
        },
        left_out,
    )  # fmt: skip


def _settings(
    request: AskRequest,
    resumed: Resumed | None,
    conversation: ConversationFlags,
    sampling: SamplingFlags,
    engine: EngineFlags,
) -> Config:
    """The settings of this command: config and environment, those of a resumed conversation, flags. Raises UsageError."""
    settings = config.load()
    if resumed:
        settings = resumed.with_engine(settings, engine)
    settings = engine.apply(sampling.apply(settings), request.keep_alive).override(
        system=request.system,
        plain=request.plain or None,
        no_log=conversation.no_log or request.dry_run or request.watch or None,
    )
    if request.dry_run:
        settings = replace(settings, keep_alive=None)
    engine_setup.check_keep_alive(settings)
    return settings


def _with_template(
    template: Template, values: dict[str, str], request: AskRequest, settings: Config
) -> tuple[AskRequest, Config]:
    """The request and the settings, completed from the template."""
    schema, extract = template_options.schema_and_extract(template, request.schema, request.extract)
    filled = template.fill(request.question, values)
    request = replace(
        request, question=filled.prompt, schema=schema, extract=extract, model=request.model or template.model
    )
    return request, template_options.with_template_defaults(settings, template, filled.system)


def _check_layout(schema: dict[str, Any] | None, format: AnswerFormat, extract: str | None) -> None:
    """Raises UsageError for a format without the schema it needs, and for --extract with a schema."""
    if schema is None and format in (AnswerFormat.csv, AnswerFormat.records):
        raise UsageError(f"--format {format} needs --schema", "Such as: --schema '[name, price:float]'")
    if schema is not None and extract:
        raise UsageError("--extract takes a code block, and --schema makes the answer JSON", "Leave one of them out")


def _check_several(request: AskRequest, sampling: Sampling) -> None:
    """Raises UsageError for options by which something of several answers, or log-probabilities, would be lost."""
    taken = {
        "--extract": request.extract, "--schema": sampling.schema, "--output": _file(request),
        "--tool": request.tools, "--mcp": request.mcp,
    }  # fmt: skip
    if sampling.n > 1 and (option := next((name for name, value in taken.items() if value), "")):
        raise UsageError(f"--n {sampling.n} makes several answers, and {option} is for one", "Leave one of them out")
    if sampling.logprobs is not None and request.format not in (AnswerFormat.json, AnswerFormat.jsonl):
        raise UsageError("--logprobs has no place in text", "Add --format json or --format jsonl")


def _file(request: AskRequest) -> Path | None:
    """The file that the answer is written to, unless that is stdout."""
    return request.output if str(request.output) not in ("-", "/dev/stdout") else None


def _choose_engine(
    model: str | None, resumed: Resumed | None, settings: Config, note: Callable[[str], None]
) -> tuple[EngineChoice, Config]:
    """The engine of the named model, else of the model of the last answer, else of the default model.

    `note` is called when the model of the last answer is not available.
    """
    last_model = resumed.model(settings) if resumed and not model else None
    if last_model:
        try:
            return engine_setup.choose_engine(last_model, settings, note)
        except ModelError as error:
            note(error.message)
    return engine_setup.choose_engine(model, settings, note)


def _restored_sampling(
    resumed: Resumed,
    now: Sampling,
    model: str,
    server: tuple[str, str],
    given: Collection[str],
    note: Callable[[str], None],
    *,
    through_template: bool,
) -> Sampling:
    """`now` with the last answer's sampling, except for parameters in `given`; notes say what is restored."""
    last = resumed.settings
    restored = last.restored(now, model, {*given, "schema"})  # a schema is for one answer only
    for line in resume_notes(last, restored, model, *server):
        note(line)
    if last.sampling.get("schema") and now.schema is None:
        note("The schema of the answer before is not used: --schema")
    if last.template and not through_template:
        note(f"The template {last.template} of this conversation is not used: -t {last.template}")
    return replace(now, **restored)


def _answer(
    request: AskRequest, sampling: Sampling, chosen: EngineChoice, settings: Config, resumed: Resumed | None
) -> None:
    _, format = ANSWER_FORMATS[request.format]
    out = choose_output(
        format=format, plain=bool(settings.plain), raw=request.raw, stream=request.stream, quiet=request.quiet,
        model=chosen.name, thinking=request.thinking, folding=settings.thinking,
        theme=settings.theme,
    )  # fmt: skip
    with _tools(request, out) as tools:
        _answer_with(tools, request, sampling, chosen, settings, resumed, out)


def _answer_with(
    tools: Sequence[RunnableTool], request: AskRequest, sampling: Sampling, chosen: EngineChoice, settings: Config,
    resumed: Resumed | None, out: Output,
) -> None:  # fmt: skip
    question = Request(
        request.question, request.images, sampling, read_stdin=request.read_stdin, extract=request.extract or "",
        layout=ANSWER_FORMATS[request.format][0], file=_file(request),
        verbose=request.verbose, offline=bool(settings.offline), files=request.files,
        inputs=[name for name in (request.schema, *request.tools, *_command_words(request.mcp)) if name], tools=tools,
        yes_tools=request.yes_tools,
    )  # fmt: skip
    question = read_piped(expand_folders(question, out), out, sys.stdin)
    asked = build_message(question, out, sys.stdin)
    if chosen.note:
        out.note(chosen.note)
    if tools and (note := engine_setup.tools_note(chosen.name)):
        out.note(note)
    with (
        closing(engine_setup.open_with_spinner(chosen, out)) as engine,
        asking.open_conversation(
            Sessions(config.paths().data), _conversation(sampling, chosen, settings, resumed), out
        ) as (conversation, session),
    ):
        asked = asking.with_staged(asked, conversation, out)
        out = replace(out, session=session, doing=lambda: engine.doing if isinstance(engine, LoadableEngine) else "")
        if request.dry_run:
            dry_run(question, asked, conversation, engine, out)
        else:
            (asking.watch if request.watch else asking.answer)(question, asked, conversation, engine, out)


@contextmanager
def _tools(request: AskRequest, out: Output) -> Iterator[Sequence[RunnableTool]]:
    """The tools that the options name. Raises UsageError for a name that is not a tool, or where calls cannot be confirmed."""
    allowed = request.yes_tools
    check = (lambda: None) if request.dry_run else lambda: check_can_ask(out, None, allowed=allowed)
    with open_tools(request.tools, request.mcp, allowed=allowed, note=out.note, check=check) as tools:
        yield tools


def _command_words(commands: Sequence[str]) -> list[str]:
    """The words of these commands, some of which may name files; none if one cannot be split."""
    with suppress(ValueError):
        return [word for command in commands for word in shlex.split(command)]
    return []


def _conversation(
    sampling: Sampling, chosen: EngineChoice, settings: Config, resumed: Resumed | None
) -> asking.ConversationChoice:
    """The conversation to ask in: the resumed one or a new one, with the settings that are recorded."""
    defaults = engine_setup.sampling(Config(), chosen.name)
    return asking.ConversationChoice(
        resumed.session.id if resumed else None, log=not settings.no_log, system=settings.system, model=chosen.name,
        settings=AnswerSettings.of(chosen.name, *engine_and_server(settings), sampling, defaults),
    )  # fmt: skip
