"""The table of slash commands, from which dispatch, completion and /help are made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pixtral_cli.errors import UsageError
from pixtral_cli.terminal.output.word_wrap import wrap_words
from pixtral_cli.terminal.preferences.keys import format_keys
from pixtral_cli.terminal.repl.commands import code, images, sessions, settings, templates, turns
from pixtral_cli.terminal.repl.state import Leave, Outcome, State

Kind: TypeAlias = Literal["", "picture", "image", "block", "model", "session", "template", "setting", "command", "area"]


@dataclass(frozen=True, slots=True)
class Command:
    """A slash command. `takes` shows its arguments in the help; `kind` says what they are, for completion."""

    name: str
    takes: str
    summary: str
    run: Callable[[State, str], Outcome]
    kind: Kind = ""
    aliases: tuple[str, ...] = ()
    group: str = ""


KEYS = (
    "A picture is attached by its path or URL anywhere in the line, or by @path. #2 places image 2 again.",
    '{newline} makes a new line, """ opens and closes several. {editor} is your editor, Ctrl-R searches, {paste} is /paste.',
    "Ctrl-C stops an answer and keeps what you typed meanwhile, Ctrl-D leaves.",
)
KEYS_TOPIC = "keys"  # of /help
LINES_BELOW = 9  # of the window, below what /help says: the line, room for what it completes to, the toolbar
PLAIN_KEYS = (  # where the line has no keys of its own
    "A picture is attached by its path or URL anywhere in the line, or by @path. #2 places image 2 again.",
    'A line of """ opens and closes several. Ctrl-C stops an answer, Ctrl-D leaves.',
)


def show_help(state: State, argument: str) -> None:
    """All commands by groups in as many lines as the window has, one with what it takes, or the keys."""
    notes = state.notes
    if argument == KEYS_TOPIC:
        for text in _keys(state):
            notes.say(text)
        return
    if argument:
        row = find(argument.removeprefix("/"))
        notes.rows([(f"/{row.name} {row.takes}".rstrip(), row.summary)])
        if row.name == "set":
            notes.rows([(f"  {name}", each.takes, each.summary) for name, each in settings.SETTINGS.items()])
        return
    columns = notes.columns
    keys = [line for text in _keys(state) for line in wrap_words(text, columns).split("\n")]
    more = wrap_words("/help COMMAND says what one does.", columns).split("\n")
    about_keys = wrap_words(f"/help {KEYS_TOPIC} tells the keys.", columns).split("\n")
    ways = (
        [*_groups(columns, words=True), *more, *keys], [*_groups(columns), *more, *keys],
        [*_groups(columns), *more, *about_keys],
    )  # fmt: skip
    room = notes.lines - (LINES_BELOW if state.editing else 2)
    for line in next((way for way in ways if len(way) <= room), ways[-1]):
        notes.say(line)


def _groups(columns: int, *, words: bool = False) -> list[str]:
    """The commands of each group in lines, with what they take if `words`; none is broken that fits into a line."""
    groups: dict[str, list[str]] = {}
    for row in TABLE:
        names = ", ".join(f"/{name}" for name in (row.name, *row.aliases))
        groups.setdefault(row.group, []).append(f"{names} {row.takes if words else ''}".rstrip())
    lines: list[str] = []
    for group, commands in groups.items():
        lines.append(f"{group}:")
        for place, command in enumerate(commands):
            joined = f"{lines[-1]}{'  ' if place else ' '}{command}"
            if len(joined) <= columns:
                lines[-1] = joined
            else:
                lines += wrap_words(command, columns).split("\n")
    return lines


def _keys(state: State) -> list[str]:
    """What the keys of the line do, and how pictures and several lines are given."""
    pressed = {name: format_keys(keys) for name, keys in state.keys.items()}
    return [line.format_map(pressed) for line in (KEYS if state.editing else PLAIN_KEYS)]


TABLE: Sequence[Command] = (
    Command(
        "image", "PATH|URL…", "Attach pictures; patterns such as *.png work", images.attach, "picture", group="Pictures"
    ),
    Command("paste", "", "Attach the picture on the clipboard", images.paste, group="Pictures"),
    Command(
        "shot",
        "[region|screen]",
        "Take a picture of the screen and attach it",
        images.take_screenshot,
        "area",
        group="Pictures",
    ),
    Command("images", "", "List the images of the conversation", images.list_images, group="Pictures"),
    Command("drop", "N…", "Take images out again, sent ones too", images.drop, "image", group="Pictures"),
    Command(
        "crop", "N X Y W H", "Attach a part of an image, in pixels or percent", images.crop, "image", group="Pictures"
    ),
    Command(
        "undo", "[N]", "Take back the last question and its answer, or the last N", turns.undo, group="Conversation"
    ),
    Command("redo", "[N]", "Bring back what was undone", turns.redo, group="Conversation"),
    Command(
        "versions", "[N]", "List the tries of the last question, or show one", turns.versions, group="Conversation"
    ),
    Command("regen", "[TEMPERATURE]", "Answer the last question again", turns.regenerate, group="Conversation"),
    Command("edit", "", "Change the last question and ask it again", turns.edit, group="Conversation"),
    Command("clear", "", "Begin a new conversation", turns.clear, aliases=("new",), group="Conversation"),
    Command(
        "sessions",
        "[WORDS]",
        "List the saved conversations, or search them",
        sessions.list_sessions,
        group="Conversation",
    ),
    Command(
        "load",
        "[ID]",
        "Go on with a saved conversation, picked from a list",
        sessions.load_session,
        "session",
        group="Conversation",
    ),
    Command("rename", "[TITLE]", "Give this conversation a title", sessions.rename_session, group="Conversation"),
    Command("tag", "[TAG…]", "Tag this conversation; -TAG takes one away", sessions.tag_session, group="Conversation"),
    Command("system", "[TEXT|off]", "Show or set the system prompt", settings.system, group="Settings"),
    Command("set", "[NAME VALUE]", "Show or change settings", settings.change_setting, "setting", group="Settings"),
    Command(
        "template",
        "[NAME [KEY=VALUE…]|off]",
        "Ask by a template",
        templates.choose_template,
        "template",
        group="Settings",
    ),
    Command(
        "show", "[history]", "Show the settings in use, or the whole conversation", settings.show, group="Settings"
    ),
    Command(
        "model", "[NAME]", "Show or switch the model; the conversation stays", settings.model, "model", group="Settings"
    ),
    Command("stats", "", "Tokens and times of the last answer", settings.stats, group="Answers"),
    Command("code", "", "List the code blocks of the last answer", code.list_blocks, group="Answers"),
    Command(
        "save",
        "[N] [FILE]",
        "Save code block N; without N, the conversation",
        code.save_block,
        "block",
        group="Answers",
    ),
    Command(
        "open",
        "[N] [scripts]",
        "Show code block N in the browser; scripts: let them run",
        code.open_block,
        "block",
        group="Answers",
    ),
    Command("copy", "[N]", "Copy the last answer, or code block N", code.copy_text, "block", group="Answers"),
    Command("raw", "", "Show the last answer as it was written", code.show_raw, group="Answers"),
    Command(
        "help", "[COMMAND|keys]", "This list, one command, or the keys", show_help, "command", ("?",), group="Others"
    ),
    Command("bye", "", "Leave", lambda state, argument: Leave(), aliases=("exit", "quit"), group="Others"),
)

AS_TEXT = "Begin with a space to send it as text"
BY_NAME = {name: row for row in TABLE for name in (row.name, *row.aliases)}


def find(name: str) -> Command:
    """The command with this name, or the only one with this prefix. Raises UsageError, which suggests the nearest one."""
    from difflib import get_close_matches

    if name in BY_NAME:
        return BY_NAME[name]
    begun = list({row.name: row for known, row in BY_NAME.items() if known.startswith(name)}.values())
    if len(begun) == 1:
        return begun[0]
    near = get_close_matches(name, BY_NAME, 1)
    several = f"It could be {', '.join(f'/{row.name}' for row in begun)}" if begun else ""
    hint = several or (f"Did you mean /{near[0]}?" if near else "/help lists them")
    raise UsageError(f"There is no command /{name}", f"{hint}{'' if hint.endswith('?') else '.'} {AS_TEXT}")


def run(state: State, name: str, argument: str) -> Outcome:
    """Run a command. Raises UsageError for an argument of a command that takes none."""
    row = find(name)
    if argument and not row.takes:
        typed = name if name in BY_NAME else row.name
        raise UsageError(f"/{typed} takes no words, and {_short(argument)!r} follows it", AS_TEXT)
    return row.run(state, argument)


def _short(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:29]}…"
