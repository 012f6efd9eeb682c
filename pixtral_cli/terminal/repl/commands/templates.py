"""The command for templates: list them, use one, fill its placeholders."""

import shlex

from pixtral_cli.chat.templates import one_line_summary, open_templates
from pixtral_cli.errors import UsageError
from pixtral_cli.terminal.repl.chosen_template import ChosenTemplate
from pixtral_cli.terminal.repl.state import Draft, State


def choose_template(state: State, argument: str) -> Draft | None:
    """`/template NAME key=value`; `off` stops using it. The settings that it made stay."""
    name, *pairs = _words(argument) or [""]
    if not name:
        _list_templates(state)
    elif name == "off":
        state.template = None
        state.notes.say("Questions go as they are typed; what the template set beside them stays (/show).")
    else:
        return _use_template(state, _load_filled(name, pairs))
    return None


def _load_filled(name: str, pairs: list[str]) -> ChosenTemplate:
    """The template with this name and the values of its placeholders. Raises UsageError."""
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise UsageError(f"A place is filled by KEY=VALUE, not {wrong[0]!r}", f"E.g. /template {name} language=French")
    template = open_templates().load(name)
    values = {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
    template.check_names(values)
    if missing := [place for place in template.placeholders if place not in values]:
        raise UsageError(f"The template {name} needs ${missing[0]}", f"/template {name} {missing[0]}=VALUE")
    return ChosenTemplate(template, values)


def _use_template(state: State, chosen: ChosenTemplate) -> Draft | None:
    """Use a template for the following questions; the prompt of one without $input becomes the next draft."""
    draft, system, settings = chosen.draft, chosen.system, _settings(chosen)  # all that can fail, before any change
    state.settings |= settings
    if system is not None:
        state.conversation.system = system
    state.template = chosen if chosen.template.takes_input else None
    _show_use(state, chosen)
    return Draft(draft) if draft else None


def fill_placeholder(state: State, place: str, text: str) -> None:
    """`/set PLACEHOLDER VALUE`: change the value of a placeholder of the template in use."""
    assert state.template
    if text:
        state.template.values[place] = text
        if state.template.system is not None:
            state.conversation.system = state.template.system
    state.notes.say(f"{place}: {state.template.given[place]}")


def _settings(chosen: ChosenTemplate) -> dict[str, object]:
    template, sampling = chosen.template, chosen.template.sampling
    if template.schema:
        from pixtral_cli.structured.schema import parse

        sampling["schema"] = parse(template.schema)
    return sampling


def _show_use(state: State, chosen: ChosenTemplate) -> None:
    template = chosen.template
    if template.takes_input:
        state.notes.say(f"Questions go through {template.name}; /template off ends that.")
    if template.model and template.model != state.backend.name:
        state.notes.say(f"It is meant for {template.model}: /model {template.model} switches.")


def _list_templates(state: State) -> None:
    saved = open_templates()
    now = state.template.template.name if state.template else ""
    state.notes.rows([("*" if name == now else " ", name, one_line_summary(saved, name)) for name in saved.names()])
    if not saved.names():
        state.notes.say("There are no templates yet. Write one: pixtral templates edit NAME")


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise UsageError(
            f"A quotation mark in {text!r} is not closed", "Close it, or put a backslash before it"
        ) from None
