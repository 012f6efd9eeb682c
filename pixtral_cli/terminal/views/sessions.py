"""The output and the confirmations of `pixtral sessions`."""

import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pixtral_cli import config
from pixtral_cli.errors import UsageError
from pixtral_cli.sessions import transcript
from pixtral_cli.sessions.labels import clean_tag
from pixtral_cli.sessions.library import SavedSession, Sessions
from pixtral_cli.sessions.summary import Summary
from pixtral_cli.sessions.transcript import Format, Transcript
from pixtral_cli.terminal.output.notes import print_table
from pixtral_cli.terminal.output.output import Output, confirm, dumps, window_size
from pixtral_cli.terminal.output.render import Answer
from pixtral_cli.terminal.output.render import show as show_markdown
from pixtral_cli.util import durations
from pixtral_cli.util.sanitize import clean, visible

LEAST_LISTED = 5  # sessions that a list has in any window
LINES_BELOW = 4  # of the window: the heading, the note below, the shell's prompt


def open_sessions() -> Sessions:
    """The sessions of this user."""
    return Sessions(config.paths().data)


def list_sessions(
    out: Output, *, limit: int | None = None, as_json: bool = False, tags: Sequence[str] = (), every: bool = False
) -> None:
    """List the sessions, the newest first; with `tags`, those that have all of them.

    Without a limit, a terminal gets as many as its window holds, unless it wants `every` one.
    """
    sessions = open_sessions()
    wanted = {clean_tag(tag) for tag in tags}
    summaries = [entry for entry in sessions.list(None if wanted else limit) if wanted <= {*entry.tags}][:limit]
    _show_notes(sessions, out)
    if as_json:
        return _print_json({"sessions": [_fields(summary) for summary in summaries]}, out)
    if not summaries:
        if wanted:
            return out.note(f"No session has the tag {', '.join(sorted(wanted))}")
        return out.note("No session is saved yet. Start one: pixtral chat")
    found = len(summaries)
    if limit is None and not every and out.stdout.isatty():
        summaries = summaries[: max(LEAST_LISTED, window_size(out.stdout).lines - LINES_BELOW)]
    rows = [("ID", "LAST", "MESSAGES", "IMAGES", "BRANCH", "MODEL", "TITLE")]
    rows += [
        (
            entry.id,
            _when(entry.updated),
            str(entry.messages),
            str(entry.images or ""),
            _branch(entry),
            entry.model,
            entry.titled,
        )
        for entry in summaries
    ]
    print_table(rows, out)
    if len(summaries) < found:
        out.note(
            f"… {found - len(summaries):,} more: pixtral sessions --all; by their words: pixtral sessions search WORDS"
        )
    return None


def show_session(
    prefix: str, out: Output, *, branch: int | None = None, as_json: bool = False, thinking: bool = False
) -> None:
    """Show the messages of a session, on the branch shown or another, with images by name."""
    saved = _load_session(prefix, out)
    conversation = _transcript(saved, branch, thinking=thinking)
    if not conversation.messages:
        out.note(_nothing_shown(saved))
    if as_json:
        return out.write(transcript.render(conversation, Format.json))
    if conversation.branch[1] > 1 and branch is None:
        out.note(f"Branch {conversation.branch[0]} of {conversation.branch[1]}; another: --branch N")
    text = transcript.markdown(conversation, None)
    return show_markdown(Answer(text), out)


def _nothing_shown(saved: SavedSession) -> str:
    """Why a session shows no message, and how it goes on."""
    taken_back = sum(node.message.role == "user" for node in saved.snapshot.nodes)
    staged = ", ".join(visible(image.name, 40) for image in saved.snapshot.staged)
    attached = f" Attached to the next one: {staged}." if staged else ""
    go_on = f"pixtral chat --session {saved.summary.id}"
    if not taken_back:
        return f"No question is asked yet.{attached} Ask one: {go_on}"
    questions = "Its question was" if taken_back == 1 else f"Its {taken_back} questions were"
    return f"{questions} taken back.{attached} {go_on}, then /redo, brings {'it' if taken_back == 1 else 'them'} back"


def search_sessions(
    words: str, out: Output, *, limit: int = 50, as_json: bool = False, tags: Sequence[str] = ()
) -> None:
    """List the messages that contain all the words; with `tags`, those of sessions that have all of them."""
    sessions = open_sessions()
    wanted = {clean_tag(tag) for tag in tags}
    hits = [hit for hit in sessions.search(words, 10**9 if wanted else limit) if wanted <= {*hit.summary.tags}][:limit]
    _show_notes(sessions, out)
    if as_json:
        listed = [
            {"session": _fields(hit.summary), "position": hit.position, "role": hit.role, "snippet": hit.snippet}
            for hit in hits
        ]
        return _print_json({"hits": listed}, out)
    if not hits:
        return out.note(f"No session holds {words!r}")
    return print_table([(hit.summary.id, _when(hit.summary.updated), hit.role, hit.snippet) for hit in hits], out)


def rename_session(prefix: str, title: str, out: Output) -> None:
    """Give a session a title of its own."""
    sessions = open_sessions()
    found = sessions.find(prefix)
    sessions.rename(found.id, title)
    out.note(f"Session {found.id}: {visible(sessions.find(found.id).title)}")


def tag_session(prefix: str, tags: Sequence[str], out: Output, *, remove: bool = False) -> None:
    """Add tags to a session, or take them away."""
    sessions = open_sessions()
    found = sessions.find(prefix)
    if remove and (absent := [tag for tag in map(clean_tag, tags) if tag not in found.tags]):
        out.note(f"It has no tag {', '.join(absent)}")
    left = sessions.tag(found.id, tags, remove=remove)
    out.note(f"Session {found.id}: {visible(' '.join(f'#{tag}' for tag in left)) or 'no tags'}")


def export_session(
    prefix: str,
    out: Output,
    *,
    file: Path | None,
    form: Format | None,
    branch: int | None = None,
    thinking: bool = False,
) -> None:
    """Write a session to a file, or to stdout with its images inside; the branch shown, unless another is named."""
    conversation = _transcript(_load_session(prefix, out), branch, thinking=thinking)
    if conversation.branch[1] > 1 and branch is None:
        out.note(f"Branch {conversation.branch[0]} of {conversation.branch[1]}; another: --branch N")
    if file:
        _refuse_picture(file)
        transcript.write(conversation, file, form)
        return out.note(f"Written to {file}")
    text = transcript.render(conversation, form or Format.md)
    return out.write(clean(text) if out.stdout.isatty() else text)


def _refuse_picture(file: Path) -> None:
    """Raises UsageError if the file is a picture, which an export must not replace."""
    from pixtral_cli.images.formats import is_picture, rare_format

    start = b""
    with contextlib.suppress(OSError):
        if file.is_file():
            with file.open("rb") as stream:
                start = stream.read(4096)
    if is_picture(start) or rare_format(start):
        raise UsageError(
            f"{visible(str(file), 60)} is a picture, and would be written over", "Name another file: -o FILE"
        )


def import_session(file: Path, out: Output) -> None:
    """Import a transcript as a new session; prints its id."""
    if str(file) == "-":
        if sys.stdin.isatty():
            raise UsageError("- reads stdin, and stdin is a terminal", "Pipe an export into it, or name a file")
        read, notes = transcript.parse(sys.stdin.buffer.read(), "stdin")
    else:
        read, notes = transcript.read(file)
    with open_sessions().add(
        read.messages, system=read.system, model=read.model, title=read.title, tags=read.tags
    ) as session:
        for note in (*notes, *session.take_notes()):
            out.note(note)
        out.write(f"{session.id}\n")


def show_path(out: Output) -> None:
    """Print the folder of the conversations, their pictures and the runs of `pixtral eval`."""
    out.write(f"{open_sessions().folder}\n")


def fork_session(prefix: str, out: Output) -> None:
    """Copy a session; prints the copy's id."""
    with open_sessions().fork(prefix) as session:
        for note in session.take_notes():
            out.note(note)
        out.write(f"{session.id}\n")


def remove_sessions(prefixes: Sequence[str], out: Output, *, sure: bool = False) -> None:
    """Remove sessions for good; asks first."""
    sessions = open_sessions()
    summaries = list(dict.fromkeys(sessions.find(prefix) for prefix in prefixes))
    what = _session_count(len(summaries)) if len(summaries) > 1 else f"session {summaries[0].id} ({summaries[0].title})"
    if not sure and not confirm(f"Remove {what}?", out):
        return out.note("Nothing was removed")
    images = sessions.remove([summary.id for summary in summaries])
    _show_notes(sessions, out)
    return out.note(f"Removed {what}{_with_images(images)}")


def prune_sessions(
    out: Output, *, older: str | None, keep: int | None, dry: bool = False, sure: bool = False, as_json: bool = False
) -> None:
    """Remove old sessions, or all but the newest; asks first. `as_json`: those that are removed are written as JSON."""
    if older is None and keep is None:
        raise UsageError("Prune what?", "Say --older-than 30d, --keep 100, or both")
    sessions = open_sessions()
    before = time.time() - durations.parse_age(older, "--older-than") if older else None
    plan = sessions.prune(before=before, keep=keep or 0, dry=True)
    _show_notes(sessions, out)
    if plan.kept:
        out.note(f"Left alone, being open: {', '.join(summary.id for summary in plan.kept)}")
    if as_json and (dry or not plan.sessions):
        return _print_json({"sessions": [_fields(entry) for entry in plan.sessions]}, out)
    if not plan.sessions:
        return out.note("There is nothing to remove")
    if dry:
        return print_table([(entry.id, _when(entry.updated), entry.title) for entry in plan.sessions], out)
    if not sure and not confirm(f"Remove {_session_count(len(plan.sessions))}?", out):
        return out.note("Nothing was removed")
    done = sessions.prune(before=before, keep=keep or 0)
    if as_json:
        _print_json({"sessions": [_fields(entry) for entry in done.sessions]}, out)
    return out.note(f"Removed {_session_count(len(done.sessions))}{_with_images(done.images)}")


def _load_session(prefix: str, out: Output) -> SavedSession:
    sessions = open_sessions()
    saved = sessions.load(sessions.find(prefix).id)
    _show_notes(sessions, out)
    return saved


def _transcript(saved: SavedSession, branch: int | None = None, *, thinking: bool = False) -> Transcript:
    about = saved.summary
    snapshot = saved.snapshot if branch is None else saved.snapshot.on_branch(branch)
    return Transcript(
        snapshot.messages, about.system, about.title, about.model, about.id, about.created, snapshot.branch,
        snapshot.image_keys, thinking, about.tags,
    )  # fmt: skip


def _show_notes(sessions: Sessions, out: Output) -> None:
    for note in sessions.database.notes:
        out.note(note)


def _fields(summary: Summary) -> dict[str, Any]:
    return asdict(summary) | {key: transcript.iso_time(getattr(summary, key)) for key in ("created", "updated")}


def _branch(summary: Summary) -> str:
    """The number of the branch that is shown, of how many; "" if there is only one."""
    number, count = summary.branch, summary.branches
    return f"{number} of {count}" if count > 1 else ""


def _when(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(when))


def _print_json(value: Any, out: Output) -> None:
    out.write(dumps(value, out.stdout.encoding) + "\n")


def _session_count(count: int) -> str:
    return f"{count} session" + ("" if count == 1 else "s")


def _with_images(count: int) -> str:
    return f", and {count} image{'' if count == 1 else 's'} with {'it' if count == 1 else 'them'}" if count else ""
