"""The table of slash commands: from it come dispatch, completion and /help. What each does stands in its own room."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pixtral_cli.errors import UsageError
from pixtral_cli.terminal.repl.commands import code, images, sessions, settings, templates, turns
from pixtral_cli.terminal.repl.state import Leave, Outcome, State

Kind: TypeAlias = Literal["", "picture", "image", "block", "model", "session", "template", "setting", "command", "area"]


@dataclass(frozen=True, slots=True)
class Command:
    """One row. `takes` is how its arguments are shown, `kind` what they are, for completion."""

    name: str
    takes: str
    summary: str
    run: Callable[[State, str], Outcome]
    kind: Kind = ""
    aliases: tuple[str, ...] = ()


KEYS = (
    "",
    "A picture is attached by its path or URL anywhere in the line, or by @path. #2 places image 2 again.",
    'Ctrl-J makes a new line, """ opens and closes several. Ctrl-G is your editor, Ctrl-R searches, Ctrl-V is /paste.',
    "Ctrl-C stops an answer, Ctrl-D leaves.",
)


def show_help(state: State, argument: str) -> None:
    """All commands, or one."""
    if argument:
        row = find(argument.removeprefix("/"))
        state.notes.rows([(f"/{row.name} {row.takes}".rstrip(), row.summary)])
        return
    names = {row.name: " ".join(f"/{name}" for name in (row.name, *row.aliases)) for row in TABLE}
    state.notes.rows([(f"{names[row.name]} {row.takes}".rstrip(), row.summary) for row in TABLE])
    for line in KEYS:
        state.notes.say(line)


TABLE: Sequence[Command] = (
    Command("image", "PATH|URL…", "Attach pictures; patterns such as *.png work", images.attach, "picture"),
    Command("paste", "", "Attach the picture on the clipboard", images.paste),
    Command("shot", "[region|screen]", "Take a picture of the screen and attach it", images.take_screenshot, "area"),
    Command("images", "", "List the images of the conversation", images.list_images),
    Command("drop", "N…", "Take images out again, sent ones too", images.drop, "image"),
    Command("crop", "N X Y W H", "Attach a part of an image, in pixels or percent", images.crop, "image"),
    Command("undo", "[N]", "Take back the last question and its answer, or the last N", turns.undo),
    Command("redo", "[N]", "Bring back what was undone", turns.redo),
    Command("versions", "[N]", "List the tries of the last question, or show one", turns.versions),
    Command("regen", "[TEMPERATURE]", "Answer the last question again", turns.regenerate),
    Command("edit", "", "Change the last question and ask it again", turns.edit),
    Command("clear", "", "Begin a new conversation", turns.clear),
    Command("system", "[TEXT|off]", "Show or set the system prompt", settings.system),
    Command("set", "[NAME VALUE]", "Show or change settings", settings.change_setting, "setting"),
    Command("template", "[NAME [KEY=VALUE…]|off]", "Ask by a template", templates.choose_template, "template"),
    Command("show", "[history]", "Show the state of things, or all that was said", settings.show),
    Command("model", "[NAME]", "Show or switch the model; the conversation stays", settings.model, "model"),
    Command("stats", "", "Tokens and times of the last answer", settings.stats),
    Command("code", "", "List the code blocks of the last answer", code.list_blocks),
    Command("save", "[N] [FILE]", "Save code block N; without N, the conversation", code.save_block, "block"),
    Command("open", "[N]", "Show code block N in the browser", code.open_block, "block"),
    Command("copy", "[N]", "Copy the last answer, or code block N", code.copy_text, "block"),
    Command("raw", "", "Show the last answer as it was written", code.show_raw),
    Command("sessions", "[WORDS]", "List the saved conversations, or search them", sessions.list_sessions),
    Command("load", "ID", "Go on with a saved conversation", sessions.load_session, "session"),
    Command("help", "[COMMAND]", "This list", show_help, "command", ("?",)),
    Command("bye", "", "Leave", lambda state, argument: Leave(), aliases=("exit", "quit")),
)

BY_NAME = {name: row for row in TABLE for name in (row.name, *row.aliases)}


def find(name: str) -> Command:
    """The command of that name. Raises UsageError with the nearest one."""
    from difflib import get_close_matches

    if name in BY_NAME:
        return BY_NAME[name]
    near = get_close_matches(name, BY_NAME, 1) or [other for other in BY_NAME if other.startswith(name)][:1]
    hint = f"Did you mean /{near[0]}?" if near else "/help lists them; begin with a space to send it as text"
    raise UsageError(f"There is no command /{name}", hint)
