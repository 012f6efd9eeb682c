"""Sets up a REPL from the options of the command line: state, prompt, toolbar, thumbnails.

Imports what the prompt needs to appear; the rest is imported at the first key.
"""

import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pixtral_cli import __version__
from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.errors import UsageError
from pixtral_cli.images import folders
from pixtral_cli.images.image import Image
from pixtral_cli.terminal.output.notes import Notes, count_of, wrap_pieces
from pixtral_cli.terminal.output.output import Output, confirm, supports_drawing
from pixtral_cli.terminal.preferences.keys import DEFAULT_KEYS
from pixtral_cli.terminal.repl.backend import Backend, ModelOpener
from pixtral_cli.terminal.repl.history import InputHistory
from pixtral_cli.terminal.repl.repl import Reader, Repl
from pixtral_cli.terminal.repl.state import State
from pixtral_cli.util.sanitize import visible

if TYPE_CHECKING:
    from pixtral_cli.chat.toolbox.engine import RunnableTool
    from pixtral_cli.sessions.library import Sessions
    from pixtral_cli.sessions.session import Session
    from pixtral_cli.terminal.repl.chosen_template import ChosenTemplate
    from pixtral_cli.terminal.repl.completion import Suggestion

Pairs: TypeAlias = list[tuple[str, str]]

PLACEHOLDER = "Ask something, or drop a picture here"
MAX_PARSED_LENGTH = 2_000  # characters; longer lines are not parsed while they are typed


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """The options of `pixtral chat`: the model, the session to resume, the images to attach, the display."""

    opening: ModelOpener
    open: Callable[[str], ModelOpener]
    models: Callable[[], Sequence[str]] = tuple
    system: str | None = None
    resume: str | None = None  # a session's id; "" is the newest
    given: Collection[str] = ()  # the fields of the sampling that were set on the command line
    sources: Sequence[str] = ()
    log: bool = True
    plain: bool = False
    preview: bool = True
    stats: bool = False
    markdown: bool = True
    question: str = ""  # asked at the start
    template: "ChosenTemplate | None" = None
    tools: "Sequence[RunnableTool]" = ()
    yes_tools: bool = False
    keys: Mapping[str, str] = field(default_factory=lambda: DEFAULT_KEYS)


def chat(options: ChatOptions, out: Output, sessions: "Callable[[], Sessions]", recall_file: Path) -> None:
    """Run the REPL until the user leaves. Raises UsageError if stdin is not a terminal."""
    if not sys.stdin.isatty():
        raise UsageError("`pixtral chat` needs a terminal to type in", 'For pipes and scripts: pixtral ask "…"')
    colour = supports_drawing() and not options.plain and out.stderr.isatty()
    notes = Notes(out, colour)
    session, conversation, kept = _open_conversation(options, sessions)
    state = State(conversation, Backend(options.opening), options.open, notes, sessions, session, models=options.models)
    if options.log and not session:
        state.later = lambda: sessions().start(model=state.backend.name, system=conversation.system)
    state.template = options.template if options.template and options.template.template.takes_input else None
    state.keys = options.keys
    state.tools, state.yes_tools = options.tools, options.yes_tools
    state.settings |= {
        "stats": options.stats,
        "markdown": options.markdown,
        "preview": "on" if options.preview else "off",
        "thinking": out.thinking,
    }
    reader = _make_reader(state, options.plain or _dumb_terminal(), InputHistory(recall_file, keep=options.log), out)
    state.confirm = lambda question: confirm(question, out)
    images = [image for source in options.sources for image in state.load(source)]
    _show_greeting(state, options, kept)
    state.given_images = frozenset(image.key for image in images)
    if images:
        state.stage(images)
    draft = options.template.draft if options.template else ""
    first, draft = (f"{draft}{options.question}", "") if options.question else ("", draft)
    Repl(state, reader, out, "" if options.sources else PLACEHOLDER, draft, first).run()


def _open_conversation(
    options: ChatOptions, sessions: "Callable[[], Sessions]"
) -> "tuple[Session | None, Conversation, Mapping[str, Any]]":
    """The session (None for a new or an unsaved conversation), the conversation, and the stored settings of its session."""
    if options.resume is None:
        return None, Conversation(options.system), {}
    session = sessions().resume(options.resume or None, model=options.opening.name)
    from pixtral_cli.terminal.repl.commands.sessions import detached_conversation

    conversation = session.conversation() if options.log else detached_conversation(session)
    if options.system is not None:
        conversation.system = options.system
    return session if options.log else None, conversation, dict(session.settings)


def _make_reader(state: State, plain: bool, recall: InputHistory, out: Output) -> Reader:
    def suggest(before: str) -> "Iterable[Suggestion]":
        from pixtral_cli.terminal.repl import completion

        return completion.suggest(before, completion.CompletionSources(images, models, sessions, templates))

    def images() -> Pairs:
        return [(str(number), image.name) for number, image in state.conversation.numbered.items()]

    def models() -> Pairs:
        return [(name, "") for name in state.models()]

    def sessions() -> Pairs:
        return [(each.id, each.title) for each in state.sessions().list(50)]

    def templates() -> Pairs:
        from pixtral_cli.chat.templates import open_templates

        return [(name, "") for name in open_templates().names()]

    state.editing = not plain
    if plain:
        from pixtral_cli.terminal.repl.plain_prompt import PlainPrompt

        return PlainPrompt(recall, suggest, state.backend.start, editing=not _dumb_terminal())
    from pixtral_cli.terminal.repl.prompt import Prompt

    prompt = Prompt(
        recall, suggest, partial(toolbar, state), state.backend.start, state.end_edit, keys=state.keys,
        theme=dict(out.theme),
    )  # fmt: skip
    state.backend.changed = prompt.redraw
    state.thumbnail = _make_thumbnails(out, prompt.unread)
    return prompt


def _make_thumbnails(out: Output, unread: Callable[[bytes], None]) -> Callable[[Image, str], str]:
    """A function that returns the thumbnail of an image; the terminal is probed at the first one."""

    @cache
    def made() -> Callable[[Image, str], str]:
        from pixtral_cli.terminal.graphics.thumbnail import Thumbnails

        return Thumbnails(out.stderr, sys.stdin.fileno(), unread)

    return lambda image, method: made()(image, method)


def toolbar(state: State, text: str, pasted: Sequence[str] = (), columns: int = 10_000) -> str:
    """The text of the toolbar: the model and its loading, staged images, what Enter would attach; wrapped to `columns`."""
    backend = state.backend
    pieces = [backend.name]
    if backend.state == "loading":
        pieces = [f"{backend.doing}, {backend.seconds:.0f} s"]
    elif backend.state == "failed":
        pieces = [f"{backend.name} could not be loaded; the next question tries again, /model NAME switches"]
    if state.edits:
        pieces.append("editing the last question")
    if state.template:
        pieces.append(f"template {state.template.template.name}")
    if state.sampling.schema:
        pieces.append("answers by a schema")
    if staged := len(state.conversation.staged):
        pieces.append(f"{count_of(staged, 'image')} attached")
    if 0 < len(text) < MAX_PARSED_LENGTH:
        pieces += _on_enter(state, text, pasted)
    if state.context:
        pieces.append(state.context)
    return wrap_pieces([visible(piece) for piece in pieces], columns)


def _on_enter(state: State, text: str, pasted: Sequence[str]) -> list[str]:
    """The pictures that Enter will attach, and those it cannot, with the reasons."""
    from pixtral_cli.terminal.repl import attachments, input_parser

    known = [image.name for image in state.conversation.images]
    meant = input_parser.parse(text, folders.path_exists, pasted, known)
    if not isinstance(meant, input_parser.Question):
        return []
    absent = attachments.missing_names(meant)
    found = [
        (each.name, each.short, attachments.attach_problem(each.name))
        for each in meant.sources
        if each.name not in absent
    ]
    good = dict.fromkeys(attachments.describe(name, short) for name, short, wrong in found if not wrong)
    bad = dict.fromkeys(f"{short} {wrong}" for _, short, wrong in found if wrong)
    return [*([f"Enter attaches {', '.join(good)}"] if good else []), *bad, *state.sent_again(meant.text)]


def _show_greeting(state: State, options: ChatOptions, kept: Mapping[str, Any]) -> None:
    """Show the greeting, and for a resumed conversation its last messages and restored settings."""
    if options.opening.note:
        state.notes.say(options.opening.note)
    state.notes.say(f"pixtral {__version__}, {state.backend.name}. Ctrl-D leaves, /help tells more.")
    if not options.log:
        state.notes.say("This conversation is not saved; /save saves it.")
    if options.resume is not None:
        from pixtral_cli.sessions.answer_settings import AnswerSettings
        from pixtral_cli.terminal.repl.commands.sessions import restore_settings, show_resumed

        show_resumed(state)
        restore_settings(state, AnswerSettings.from_json(kept), options.given)


def _dumb_terminal() -> bool:
    """Whether the terminal cannot move the cursor."""
    return os.name == "posix" and os.environ.get("TERM", "") in ("", "dumb", "unknown")
