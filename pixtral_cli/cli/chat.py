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
        from pixtral_cli.sessions.library import Sessions  # loaded only when a conversation is saved or resumed

        return Sessions(config.paths().data)

    resumed = _resumed(conversation, sessions)
    settings = config.load()
    if resumed:
        settings = resumed.with_engine(settings, engine)
    settings = engine.apply(sampling.apply(settings), keep_alive).override(
        system=system, plain=plain or None, no_log=conversation.no_log or None
    )
    engine_setup.check_keep_alive(settings)
    chosen_template, settings = _with_template(*template_options.load_template(template), settings)
    schema = chosen_template.template.schema if chosen_template and schema is None else schema
    load_model = _model_loader(settings, sampling.stop, parse_schema(schema))
    model_name = model or (chosen_template and chosen_template.template.model)
    last_model = resumed.model(settings) if resumed else None
    with open_tools(
        tools.tool or (), tools.mcp or (), allowed=tools.yes_tools, note=engine_setup.print_note
    ) as loaded_tools:
        opening = _session_model(load_model, last_model) if last_model and not model_name else load_model(model)
        if loaded_tools and (note := engine_setup.tools_note(opening.name)):
            opening.news.append(f"{note}.")
        setup.chat(
            setup.ChatOptions(
                opening,
                load_model,
                models=_installed_models,
                system=_system(system, chosen_template) if resumed else settings.system,
                resume=resumed.session.id if resumed else None,
                given=_given(sampling, schema, chosen_template),
                sources=image or (),
                log=not settings.no_log,
                plain=bool(settings.plain),
                preview=settings.preview is not False,
                stats=verbose,
                markdown=not raw,
                question=question.strip(),
                template=chosen_template,
                tools=loaded_tools,
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
    """The conversation that the flags continue, or None."""
    if not conversation.resume and conversation.session is None:
        return None
    from pixtral_cli.cli.common.engine_setup import print_note
    from pixtral_cli.cli.common.resumption import find_resumed

    return find_resumed(conversation, sessions(), print_note)


def _system(given: str | None, chosen_template: "ChosenTemplate | None") -> str | None:
    """The system prompt that replaces that of a resumed conversation; None where the conversation keeps its own."""
    return chosen_template.system if given is None and chosen_template else given


def _given(sampling: SamplingFlags, schema: str | None, chosen_template: "ChosenTemplate | None") -> set[str]:
    """The names of the sampling parameters that flags or a template set."""
    from pixtral_cli.cli.common.resumption import given_sampling

    given = given_sampling(sampling) | set(chosen_template.template.sampling if chosen_template else ())
    return given | {"schema"} if schema is not None else given


def _with_template(
    template: "Template | None", values: dict[str, str], settings: "Config"
) -> "tuple[ChosenTemplate | None, Config]":
    """The template to use, and the settings with those of the template where flags set none."""
    if template is None:
        return None, settings
    from pixtral_cli.cli.common import template_options
    from pixtral_cli.terminal.repl.chosen_template import ChosenTemplate

    chosen_template = ChosenTemplate(template, values)
    return chosen_template, template_options.with_template_defaults(settings, template, chosen_template.system)


def _model_loader(
    settings: "Config", stop: "Sequence[str] | None", schema: dict[str, Any] | None
) -> "Callable[[str | None], ModelOpener]":
    """A function that returns the model of a name (None: the default one), with its engine, unopened, and sampling."""
    from dataclasses import replace

    from pixtral_cli.cli.common import engine_setup
    from pixtral_cli.cli.common.resumption import engine_and_server
    from pixtral_cli.config import Config
    from pixtral_cli.terminal.repl.backend import LoadProgress, ModelOpener

    def load(name: str | None) -> ModelOpener:
        notes: list[str] = []
        progress = LoadProgress()
        chosen, model_settings = engine_setup.choose_engine(name, settings, notes.append, progress.update)
        sampling = replace(engine_setup.sampling(model_settings, chosen.name, stop), schema=schema)
        defaults = engine_setup.sampling(Config(), chosen.name)
        return ModelOpener(
            chosen.name, chosen.open, sampling, chosen.note, notes, progress, defaults, *engine_and_server(settings)
        )  # fmt: skip

    return load


def _session_model(load_model: "Callable[[str | None], ModelOpener]", name: str) -> "ModelOpener":
    """The model of a session; the default one, with a note, if the session's model is no longer on this machine."""
    from dataclasses import replace

    from pixtral_cli.errors import ModelError

    try:
        return load_model(name)
    except ModelError as error:
        return replace(load_model(None), note=error.message)


def _installed_models() -> list[str]:
    """The names of the models on this machine."""
    from pixtral_cli.models import store

    return [model.name for model in store.installed_models()]
