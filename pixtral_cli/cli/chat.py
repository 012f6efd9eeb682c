"""`pixtral chat`: the conversation in the terminal."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixtral_cli.cli.common import options
from pixtral_cli.cli.common.flags import (
    ConversationFlags,
    EngineFlags,
    SamplingFlags,
    TemplateFlags,
    ToolFlags,
    expand_flags,
    open_tools,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pixtral_cli.chat.templates import Template
    from pixtral_cli.cli.common.resumption import Resumed
    from pixtral_cli.config import Config
    from pixtral_cli.sessions.library import Sessions
    from pixtral_cli.terminal.repl.backend import ModelOpener
    from pixtral_cli.terminal.repl.chosen_template import ChosenTemplate


Question = Annotated[str, typer.Argument(help="A first question, asked at once.", show_default=False)]


@expand_flags
def chat(
    *,
    question: Question = "",
    image: options.Images = None,
    model: options.Model = None,
    system: options.System = None,
    template: TemplateFlags,
    schema: options.Schema = None,
    conversation: ConversationFlags,
    sampling: SamplingFlags,
    tools: ToolFlags,
    engine: EngineFlags,
    keep_alive: options.KeepAlive = None,
    plain: options.Plain = False,
    raw: options.Raw = False,
    thinking: options.Thinking = None,
    verbose: options.Verbose = False,
) -> None:
    """Talk with a model about pictures. Every conversation is saved as it happens."""
    from functools import cache

    from pixtral_cli import config
    from pixtral_cli.cli.common import engine_setup, template_options
    from pixtral_cli.cli.common.resumption import parse_schema
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.preferences.keys import chosen_keys
    from pixtral_cli.terminal.repl import setup

    @cache
    def sessions() -> "Sessions":
        from pixtral_cli.sessions.library import Sessions  # needed only when something is kept or resumed

        return Sessions(config.paths().data)

    last = _resumed(conversation, sessions)
    settings = config.load()
    if last:
        settings = last.engine_under(settings, engine)
    settings = engine.apply(sampling.apply(settings), keep_alive).override(
        system=system, plain=plain or None, no_log=conversation.no_log or None
    )
    engine_setup.check_keep_alive(settings)
    in_use, settings = _with_template(*template_options.load_template(template), settings)
    schema = in_use.template.schema if in_use and schema is None else schema
    load_model = _model_loader(settings, sampling.stop, parse_schema(schema))
    chosen_name = model or (in_use and in_use.template.model)
    before = last.model(settings) if last else None
    with open_tools(tools.tool or (), tools.mcp or (), allowed=tools.yes_tools, note=engine_setup.print_note) as loaded:
        setup.chat(
            setup.ChatOptions(
                _session_model(load_model, before) if before and not chosen_name else load_model(model),
                load_model,
                models=_installed_models,
                system=_system(system, in_use) if last else settings.system,
                resume=last.session.id if last else None,
                given=_given(sampling, schema, in_use),
                sources=image or (),
                log=not settings.no_log,
                plain=bool(settings.plain),
                preview=settings.preview is not False,
                stats=verbose,
                markdown=not raw,
                question=question.strip(),
                template=in_use,
                tools=loaded,
                yes_tools=tools.yes_tools,
                keys=chosen_keys(settings.keys or {}),
            ),
            choose_output(
                plain=bool(settings.plain), thinking=thinking, folding=settings.thinking, theme=settings.theme
            ),
            sessions,
            config.paths().state / "lines.jsonl",
        )


def _resumed(conversation: ConversationFlags, sessions: "Callable[[], Sessions]") -> "Resumed | None":
    """The conversation to go on with, if one is named."""
    if not conversation.resume and conversation.session is None:
        return None
    from pixtral_cli.cli.common.engine_setup import print_note
    from pixtral_cli.cli.common.resumption import find_resumed

    return find_resumed(conversation, sessions(), print_note)


def _system(given: str | None, in_use: "ChosenTemplate | None") -> str | None:
    """The system prompt that replaces a resumed conversation's; None where it keeps its own."""
    return in_use.system if given is None and in_use else given


def _given(sampling: SamplingFlags, schema: str | None, in_use: "ChosenTemplate | None") -> set[str]:
    """The fields of the sampling that this command line sets, itself or by a template."""
    from pixtral_cli.cli.common.resumption import given_sampling

    given = given_sampling(sampling) | set(in_use.template.sampling if in_use else ())
    return given | {"schema"} if schema is not None else given


def _with_template(
    template: "Template | None", values: dict[str, str], settings: "Config"
) -> "tuple[ChosenTemplate | None, Config]":
    """The template to use, and the settings with what it sets beneath the flags."""
    if template is None:
        return None, settings
    from pixtral_cli.cli.common import template_options
    from pixtral_cli.terminal.repl.chosen_template import ChosenTemplate

    in_use = ChosenTemplate(template, values)
    return in_use, template_options.with_template_defaults(settings, template, in_use.system)


def _model_loader(
    settings: "Config", stop: "Sequence[str] | None", schema: dict[str, Any] | None
) -> "Callable[[str | None], ModelOpener]":
    """A function that finds a model by its name, to be opened with these settings."""
    from dataclasses import replace

    from pixtral_cli.cli.common import engine_setup
    from pixtral_cli.cli.common.resumption import place_of
    from pixtral_cli.config import Config
    from pixtral_cli.terminal.repl.backend import LoadProgress, ModelOpener

    def load(name: str | None) -> ModelOpener:
        notes: list[str] = []
        progress = LoadProgress()
        chosen, model_settings = engine_setup.choose_engine(name, settings, notes.append, progress.hear)
        sampling = replace(engine_setup.sampling(model_settings, chosen.name, stop), schema=schema)
        usual = engine_setup.sampling(Config(), chosen.name)
        return ModelOpener(chosen.name, chosen.open, sampling, chosen.note, notes, progress, usual, *place_of(settings))

    return load


def _session_model(load_model: "Callable[[str | None], ModelOpener]", name: str) -> "ModelOpener":
    """The model of a session, or the usual one if it is not here any more."""
    from dataclasses import replace

    from pixtral_cli.errors import ModelError

    try:
        return load_model(name)
    except ModelError as error:
        return replace(load_model(None), note=error.message)


def _installed_models() -> list[str]:
    from pixtral_cli.models import store

    return [model.name for model in store.installed_models()]
