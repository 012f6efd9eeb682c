"""The commands for settings: /system, /set, /show, /model, /stats."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pixtral_cli.chat import tool_rounds
from pixtral_cli.chat.message import Message
from pixtral_cli.chat.tools import MAX_SHOWN_ARGUMENT, format_call
from pixtral_cli.errors import UsageError
from pixtral_cli.limits import MIN_SEED, RANGES
from pixtral_cli.terminal.graphics.draw import METHODS
from pixtral_cli.terminal.output.thinking import summary_line
from pixtral_cli.terminal.repl import attachments
from pixtral_cli.terminal.repl.backend import Backend
from pixtral_cli.terminal.repl.commands import templates
from pixtral_cli.terminal.repl.state import State
from pixtral_cli.util.nearest import nearest
from pixtral_cli.util.sanitize import visible

RESETS = ("default", "none", "off")  # words that reset a setting; in quotes they are text
EMPTY = ("", '""', "''")
NO_SYSTEM_PROMPT = "none, the vendor's is off"


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of /set. `read` converts a text to its value and raises ValueError for an invalid text."""

    takes: str
    summary: str
    read: Callable[[str], Any]


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text)
        if not low <= value <= high or math.isnan(value):
            raise ValueError(text)
        return value

    return read


def _integer(low: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if value < low:
            raise ValueError(text)
        return value

    return read


def _one_of(**values: Any) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if text.lower() not in values:
            raise ValueError(text)
        return values[text.lower()]

    return read


def _without_quotes(text: str) -> str:
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] and text[0] in "\"'" else text


def _schema(text: str) -> dict[str, Any] | None:
    from pixtral_cli.structured.schema import parse

    return None if text.lower() == "off" else parse(text)


SETTINGS = {
    "temperature": Setting(RANGES["temperature"][2], "0 is greedy", _number(*RANGES["temperature"][:2])),
    "top_p": Setting(RANGES["top_p"][2], "nucleus sampling", _number(*RANGES["top_p"][:2])),
    "top_k": Setting(RANGES["top_k"][2], "only the likeliest tokens; 0: all", _integer(0)),
    **{
        name: Setting(RANGES[name][2], summary, _number(*RANGES[name][:2]))
        for name, summary in (
            ("min_p", "only tokens so likely, of the likeliest one"),
            ("repetition_penalty", "against tokens of the prompt and the answer; 1: none"),
            ("frequency_penalty", "against tokens of the answer, by their count"),
            ("presence_penalty", "against tokens of the answer"),
        )
    },
    "max_tokens": Setting("a whole number, 1 or more", "longest answer", _integer(1)),
    "seed": Setting("a whole number", "same seed, same answer", _integer(MIN_SEED)),
    "stop": Setting("a text", "the answer ends before it", lambda text: (_without_quotes(text),)),
    "schema": Setting("a file, JSON, name, price:float… or off", "what answers must satisfy", _schema),
    "preview": Setting(" | ".join(("on", *METHODS)), "thumbnails", _one_of(on="on", **{m: m for m in METHODS})),
    "markdown": Setting("on | off", "answers are rendered", _one_of(on=True, off=False)),
    "thinking": Setting(
        "show | fold | hide", "what is thought before an answer", _one_of(show="show", fold="fold", hide="hide")
    ),
    "stats": Setting("on | off", "tokens and times after every answer", _one_of(on=True, off=False)),
}


def change_setting(state: State, argument: str) -> None:
    name, _, text = argument.partition(" ")
    if not name:
        rows = [(name, _short(_setting_text(state, name)), row.summary) for name, row in SETTINGS.items()]
        return state.notes.rows(rows)
    row = SETTINGS.get(name.replace("-", "_").lower())
    if row is None and state.template and name in state.template.given:
        return templates.fill_placeholder(state, name, text.strip())
    if row is None:
        near = nearest(name.replace("-", "_").lower(), [*SETTINGS, *(state.template.given if state.template else ())])
        hint = f"Did you mean /set {near}?" if near else f"There are {', '.join(SETTINGS)}"
        raise UsageError(f"There is no setting {name}", hint)
    name, text = name.replace("-", "_").lower(), text.strip()
    if text.lower() in RESETS and not (text.lower() == "off" and "off" in row.takes):
        state.settings.pop(name, None)
        if name == "schema" and text.lower() == "none":
            state.settings[name] = None
    elif text:
        try:
            state.settings[name] = row.read(text)
        except ValueError:
            raise UsageError(f"{name} must be {row.takes}, not {text!r}", f"/set {name} default undoes it") from None
    return state.notes.say(f"{name}: {_setting_text(state, name)}")


def system(state: State, argument: str) -> None:
    """Show or set the system prompt. It may have several lines in triple quotes; an empty one turns the vendor's off."""
    text = argument.strip('"').strip() if argument.startswith('"""') else argument
    if argument:
        state.conversation.system = None if text.lower() in RESETS else "" if text in EMPTY else text
    now = state.conversation.system
    if now is None:
        state.notes.say("No system prompt.")
    else:
        state.notes.say(f"System prompt: {now or NO_SYSTEM_PROMPT}")


def show(state: State, argument: str) -> None:
    if argument == "history":
        return history(state)
    if argument:
        raise UsageError(
            f"There is nothing to show by {argument!r}", "/show, or /show history for the whole conversation"
        )
    cost, _ = state.measure()
    conversation, session = state.conversation, state.session
    kept = f"{session.id}{'' if session.saved else ' (not saved yet)'}" if session else "not saved (/save does)"
    rows = [
        ("model", f"{state.backend.name} ({state.backend.state})"),
        ("session", kept),
        ("system", "none" if conversation.system is None else conversation.system or NO_SYSTEM_PROMPT),
        ("questions", str(sum(message.role == "user" for message in conversation.turns))),
        ("images", str(len(conversation.images))),
        *([("branch", "{} of {}".format(*conversation.branch))] if conversation.branch[1] > 1 else []),
        ("context", attachments.context_left_text(cost) if cost else "unknown"),
        ("template", state.template.template.name if state.template else "none"),
    ]
    rows += [(name, _setting_text(state, name)) for name in SETTINGS]
    return state.notes.rows(rows)


def history(state: State) -> None:
    """Show the whole conversation, images by their numbers."""
    for message in state.conversation.turns:
        if message.reasoning:
            _tell_thinking(state, message.reasoning)
        for part in tool_rounds.split(message):
            _tell_part(state, part)
        if message.interrupted:
            state.notes.say("(interrupted)")


def _tell_part(state: State, message: Message) -> None:
    """What was said with the calls that follow, or the result of a call."""
    if message.role == "tool":
        return state.notes.say(f"→ {visible(message.text, MAX_SHOWN_ARGUMENT)}{_shown_images(state, message)}")
    if message.text or message.images:
        state.notes.tell(state.said(message), "> " if message.role == "user" else "")
    for call in message.tool_calls:
        state.notes.say(f"Tool: {format_call(call)}")
    return None


def _shown_images(state: State, message: Message) -> str:
    numbers = state.numbers
    return "".join(f" [#{numbers[image.key]} {visible(image.name, 60)}]" for image in message.images)


def _tell_thinking(state: State, text: str) -> None:
    mode = state.settings.get("thinking", "fold")
    if mode != "hide":
        state.notes.say(text.strip() if mode == "show" else summary_line(text))


def model(state: State, argument: str) -> None:
    """Show or switch the model. The old engine is closed before the new one loads: two may not fit into memory."""
    if not argument:
        names = list(dict.fromkeys((state.backend.name, *state.models())))
        return state.notes.rows([("*" if name == state.backend.name else " ", name) for name in names])
    opening = state.open(argument)
    state.backend.close()
    state.backend = Backend(opening, state.backend.changed, after=state.backend)
    state.backend.start()
    if state.session:
        state.session.model = opening.name
    return state.notes.say(f"{opening.name} answers from now on.")


def stats(state: State, argument: str) -> None:
    from pixtral_cli.terminal.output.render import statistics

    if state.answer is None and any(message.role == "assistant" for message in state.conversation.turns):
        raise UsageError(
            "What this answer took is not known any more", "/stats counts an answer until another is shown"
        )
    if state.answer is None:
        raise UsageError("There is no answer yet to count", "Ask something first")
    cost, _ = state.measure()
    state.notes.say(statistics(state.answer, cost.context_window if cost else 0))


def _setting_text(state: State, name: str) -> str:
    value = state.settings.get(name, getattr(state.sampling, name, None))
    if name == "stop":
        return ", ".join(map(repr, value or ())) or "none"
    if name == "schema" and value:
        return json.dumps(value, ensure_ascii=False)
    fallback = {
        "preview": "on",
        "thinking": "fold",
        "stats": False,
        "markdown": True,
        "max_tokens": "what the window leaves",
        "seed": "none",
        "schema": "none",
    }
    value = fallback.get(name) if value is None else value
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def _short(text: str, limit: int = 32) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
