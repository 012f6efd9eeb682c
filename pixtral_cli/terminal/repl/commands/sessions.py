"""The commands for saved conversations: list, search, resume, label, save."""

import time
from collections.abc import Collection
from pathlib import Path

from pixtral_cli.chat.code_files import numbered_names
from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.templates import open_templates
from pixtral_cli.errors import UsageError
from pixtral_cli.sessions.answer_settings import AnswerSettings, resume_notes
from pixtral_cli.sessions.labels import clean_tag, clean_title
from pixtral_cli.sessions.session import Session
from pixtral_cli.sessions.summary import Summary
from pixtral_cli.terminal.output.notes import count_of, many_images_note, one_line_rows
from pixtral_cli.terminal.repl.chosen_template import ChosenTemplate
from pixtral_cli.terminal.repl.state import State

MAX_LISTED = 20  # sessions in a list


def list_sessions(state: State, argument: str) -> None:
    if argument:
        hits = state.sessions().search(argument, MAX_LISTED)
        rows: list[tuple[str, ...]] = [(hit.summary.id, _age(hit.summary.updated), hit.snippet) for hit in hits]
        nothing = f"No conversation holds {argument!r}."
    else:
        rows = [_row(summary) for summary in state.sessions().list()]
        nothing = "No conversation is saved yet."
    shown = rows[: _most_listed(state)]
    state.notes.rows(one_line_rows(shown, state.notes.columns))
    more = f" These are the newest of {len(rows):,}; /sessions WORDS finds others." if len(shown) < len(rows) else ""
    state.notes.say(f"/load ID goes on with one.{'' if argument else more}" if rows else nothing)


def _most_listed(state: State) -> int:
    """How many conversations a list has that is to be seen whole, with what is said below it."""
    return min(MAX_LISTED, max(3, state.notes.lines - 5))


def rename_session(state: State, argument: str) -> None:
    """Set the title of this conversation, or show it. An empty title in quotes removes it."""
    if argument:
        words = argument.strip("\"' ")
        _kept(state).save_settings({"title": clean_title(words) if words else ""})
    title = _kept(state).settings.get("title")
    state.notes.say(
        f"Title: {title}" if title else "Its title is the beginning of its first question; /rename TITLE changes that."
    )


def tag_session(state: State, argument: str) -> None:
    """Add and remove tags: `/tag receipts -draft`; without an argument show them."""
    session = _kept(state)
    tags = [str(tag) for tag in session.settings.get("tags") or ()]
    for word in argument.split():
        tag = clean_tag(word.removeprefix("-"))
        tags = [each for each in tags if each != tag] + ([] if word.startswith("-") else [tag])
    if argument:
        session.save_settings({"tags": tags})
    state.notes.say(f"Tags: {' '.join(f'#{tag}' for tag in tags)}" if tags else "No tags; /tag receipts adds one.")


def _kept(state: State) -> Session:
    if state.session is None:
        raise UsageError("This conversation is not saved", "/save saves it")
    return state.session


def _picked(state: State) -> str:
    """The id of the conversation that is picked from a list; "" for none."""
    every = [each for each in state.sessions().list() if not state.session or each.id != state.session.id]
    found = every[: _most_listed(state)]
    if not found:
        raise UsageError("No other conversation is saved yet", "/clear begins a new one")
    rows: list[tuple[str, ...]] = [(str(number), *_row(summary)) for number, summary in enumerate(found, 1)]
    state.notes.rows(one_line_rows(rows, state.notes.columns))
    more = f" (the newest of {len(every):,})" if len(found) < len(every) else ""
    said = state.ask_for(f"Which one? 1 to {len(found)}{more}, or an id; Enter: none").strip()
    return found[int(said) - 1].id if said.isdecimal() and 1 <= int(said) <= len(found) else said


def load_session(state: State, argument: str) -> None:
    argument = argument or _picked(state)
    if not argument:
        return state.notes.say("The conversation stays.")
    try:
        session = state.sessions().resume(argument, model=state.backend.name)
    except UsageError as error:
        error.hint = error.hint.replace("See: pixtral sessions", "/sessions lists them")
        raise
    kept = AnswerSettings.from_json(session.settings)
    if state.session:
        state.session.close()
        state.session, state.conversation = session, session.conversation()
    else:
        state.conversation = detached_conversation(session)
        state.notes.say("What follows is not saved; /save saves it.")
    state.answer = None
    show_resumed(state)
    sampling = Sampling.__dataclass_fields__
    state.settings = {name: value for name, value in state.settings.items() if name not in sampling}
    state.template = None
    return restore_settings(state, kept)


def restore_settings(state: State, kept: AnswerSettings, given: Collection[str] = ()) -> None:
    """Restore the settings of a resumed conversation except those in `given`, and show which were restored."""
    opening = state.backend.opening
    sampling = kept.restored(opening.sampling, opening.name, given)
    state.settings |= sampling
    more = []
    if kept.template and state.template is None:
        try:
            state.template = ChosenTemplate(open_templates().load(kept.template), dict(kept.values))
            more.append(f"template {kept.template}")
        except UsageError as error:
            state.notes.say(f"{error.message}. Questions go as they are typed.")
    for line in resume_notes(kept, sampling, opening.name, opening.engine, opening.server, more):
        state.notes.say(f"{line}.")


def detached_conversation(session: Session) -> Conversation:
    """A copy of a saved conversation that is not saved."""
    kept = session.conversation()
    session.close()
    return Conversation(kept.system, snapshot=kept.snapshot())


def show_resumed(state: State) -> None:
    """Show the size of a resumed conversation and its last messages."""
    conversation = state.conversation
    asked = sum(message.role == "user" for message in conversation.turns)
    images = len(conversation.images)
    state.notes.say(f"{count_of(asked, 'question')} and {count_of(images, 'image')} so far; /show history shows all.")
    for message in conversation.turns[-2:]:
        state.notes.tell(_short(state.said(message)), "> " if message.role == "user" else "")
    if not conversation.turns and any(node.message.role == "user" for node in conversation.snapshot().nodes):
        state.notes.say("What was asked has been taken back; /redo shows it again.")
    if note := many_images_note(conversation, ""):
        state.notes.say(f"{note}.")
    if conversation.staged:
        names = ", ".join(f"#{state.numbers[image.key]} {image.name}" for image in conversation.staged)
        state.notes.say(f"Attached and not sent yet: {names} (/drop lets go of it).")
    if conversation.unanswered:
        state.notes.say(f"Not answered yet: {_short(state.said(conversation.unanswered))} (/regen asks it)")


def save_conversation(state: State, argument: str) -> None:
    """Save the conversation as a session from now on, or export it to a file."""
    if argument:
        return _export(state, Path(argument.strip("'\"")).expanduser())
    if state.session is None:
        _start_saving(state)
    assert state.session
    if not state.session.saved:
        state.session.save()
    elif not state.conversation.history and not state.conversation.staged:
        return state.notes.say(f"From the first question on this will be session {state.session.id}.")
    if state.session.saved:
        state.notes.say(
            f"Saved as session {state.session.id}; go on with it: pixtral chat --session {state.session.id}"
        )
    return None


def _start_saving(state: State) -> None:
    """Start to save a conversation that was not saved so far."""
    old = state.conversation
    session = state.sessions().start(model=state.backend.name, system=old.system)
    if old.history or old.staged:
        session.update(old.snapshot())
    state.keep_in(session)


def _export(state: State, file: Path) -> None:
    from pixtral_cli.sessions.transcript import Transcript, format_of, write

    form = format_of(file)
    file = next(each for name in numbered_names(file.name) if not (each := file.with_name(name)).exists())
    name = state.session.id if state.session else ""
    snapshot = state.conversation.snapshot()
    about = Transcript(
        state.conversation.turns, state.conversation.system, model=state.backend.name, id=name, created=time.time(),
        branch=snapshot.branch, image_keys=snapshot.image_keys,
    )  # fmt: skip
    write(about, file, form)
    state.notes.say(f"Written to {file}")


def _row(summary: Summary) -> tuple[str, ...]:
    images = count_of(summary.images, "image") if summary.images else ""
    return (
        summary.id,
        _age(summary.updated),
        images,
        " ".join((_short(summary.title), *(f"#{t}" for t in summary.tags))),
    )


def _age(then: float) -> str:
    seconds = max(0, time.time() - then)
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{count_of(int(seconds // size), unit)} ago"
    return "just now"


def _short(text: str, limit: int = 200) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
