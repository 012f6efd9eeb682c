"""The commands for turns: undo, redo, versions, regenerate, edit, clear."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pixtral_cli import config
from pixtral_cli.chat.message import Message, Part
from pixtral_cli.errors import UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.terminal.output.notes import cut, one_line_rows
from pixtral_cli.terminal.repl.input_parser import escape_image_numbers
from pixtral_cli.terminal.repl.state import Draft, StartAnswer, State


def undo(state: State, argument: str) -> None:
    """Undo the last question, or the last N; the images they attached are staged again."""
    for _ in range(_count(argument, "/undo 2")):
        _undo_one(state)


def redo(state: State, argument: str) -> None:
    """Take back the last undo, N times."""
    for _ in range(_count(argument, "/redo 2")):
        parts = state.conversation.redo()
        state.answer = None
        state.notes.say(f"Brought back: {_short(''.join(part for part in parts if isinstance(part, str)))}")


def versions(state: State, argument: str) -> None:
    """List the versions of the last question, or select version N."""
    if argument:
        state.conversation.select(_count(argument, "/versions 2"))
        state.answer = None
    versions = state.conversation.versions()
    columns = state.notes.columns
    rows: list[tuple[str, ...]] = [
        (f"{'*' if each.current else ' '} {each.number}", cut(_short(_words(each.question)), columns // 3), _short(_words(each.answer)))
        for each in versions
    ]  # fmt: skip
    state.notes.rows(one_line_rows(rows, columns))
    if argument:
        answer = next((each.answer for each in versions if each.current), None)
        state.notes.tell(answer.text if answer else "")
    elif len(versions) > 1:
        state.notes.say("/versions N shows one; what follows goes on from there.")


def _words(message: Message | None) -> str:
    return message.text if message else "(no answer)"


def _count(argument: str, example: str) -> int:
    """A number from 1 on; 1 if none is given. Raises UsageError."""
    if not argument:
        return 1
    if not argument.isdecimal() or not 1 <= int(argument) <= 10_000:
        raise UsageError(f"{argument!r} is not a number", f"E.g. {example}")
    return int(argument)


def _undo_one(state: State) -> None:
    before = {image.key for image in state.conversation.images}
    parts = state.conversation.undo()
    state.answer = None
    words = "".join(part for part in parts if isinstance(part, str))
    state.notes.say(f"Taken back: {_short(words)}")
    removed = before - {image.key for image in state.conversation.images}
    for image in (part for part in parts if isinstance(part, Image) and part.key in removed):
        number = state.conversation.stage(image)
        state.notes.say(f"#{number} {image.name} waits for your next question; /drop {number} lets go of it.")


def regenerate(state: State, argument: str) -> StartAnswer:
    if not argument:
        return StartAnswer(state.conversation.regenerate)
    temperature = _temperature(argument)
    return StartAnswer(
        lambda engine, sampling: state.conversation.regenerate(engine, replace(sampling, temperature=temperature))
    )


def edit(state: State, argument: str) -> Draft:
    """Put the last question into the input line; the edited question replaces it."""
    conversation = state.conversation
    last = conversation.unanswered or next((m for m in reversed(conversation.turns) if m.role == "user"), None)
    if last is None:
        raise UsageError("There is no question yet to edit", "Ask something first")
    return Draft(line_of_parts(last.parts, state.numbers), edits=True)


def line_of_parts(parts: Sequence[Part], numbers: Mapping[str, int]) -> str:
    """The input line for these parts, with images as `#N`."""
    line = ""
    for part in parts:
        piece = f"#{numbers[part.key]}" if isinstance(part, Image) else escape_image_numbers(part)
        apart = re.search(r"[\w#&/\\]$", line) and re.match(r"[\w#]", piece)
        line += f" {piece}" if apart else piece
    return line


def clear(state: State, argument: str) -> None:
    numbers = state.numbers
    staged = ", ".join(f"#{numbers[image.key]} {image.name}" for image in state.conversation.staged)
    state.conversation.clear()
    state.answer = None
    state.notes.say("A new conversation begins" + (f", without what was attached: {staged}." if staged else "."))


def _temperature(text: str) -> float:
    try:
        return float(config.convert("temperature", text, ""))
    except UsageError as error:
        error.hint = "E.g. /regen 0.8"
        raise


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"
