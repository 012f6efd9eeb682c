"""All saved sessions: start, resume, fork, find, list, search, label, remove."""

import itertools
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pixtral_cli.chat.message import Message, Role
from pixtral_cli.chat.tree import Snapshot
from pixtral_cli.errors import UsageError
from pixtral_cli.sessions import branch_rows, labels, rows
from pixtral_cli.sessions.database import Database
from pixtral_cli.sessions.labels import MAX_TITLE, clean_tag, clean_title
from pixtral_cli.sessions.rows import Stamp
from pixtral_cli.sessions.session import Session, lock_file
from pixtral_cli.sessions.summary import COLUMNS, Summary, header_of, summary_of
from pixtral_cli.util.locks import FileLock, holder_pid, is_held

TOUCHED = "(SELECT touched FROM branches b WHERE b.session = s.id)"  # NULL in a session of version 1, which is older
IN_CALLS = (
    "SELECT 1 FROM details d, json_tree(d.fields, '$.rounds') t WHERE d.message = m.id "
    "AND t.key IN ('name', 'arguments', 'text') AND instr(fold(CAST(coalesce(t.atom, '') AS TEXT)), ?)"
)
NEWEST_FIRST = f"ORDER BY {TOUCHED} DESC NULLS LAST, updated DESC, id DESC"


@dataclass(frozen=True, slots=True)
class SavedSession:
    """A session as it is on disk, with all its messages. `stamps`: one a node of the snapshot."""

    summary: Summary
    snapshot: Snapshot
    stamps: tuple[Stamp, ...]
    settings: Mapping[str, Any]

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages of the branch that is shown."""
        return self.snapshot.messages


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A message that holds all the words, and the text around the first of them; or a session by its title and tags."""

    summary: Summary
    position: int
    role: Role | Literal["title"]
    snippet: str


@dataclass(frozen=True, slots=True)
class PruneResult:
    """The result of pruning: the removed sessions, those kept because another process has them open, and removed images."""

    sessions: tuple[Summary, ...]
    kept: tuple[Summary, ...]
    images: int


class Sessions:
    """The sessions in a folder, which need not exist. Every method raises SaveError when it cannot read or write there."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.database = Database(folder)
        self._clock = clock

    def start(self, *, model: str = "", system: str | None = None) -> Session:
        """A new session, which is written to disk with its first message or staged image."""
        return Session(self.database, model=model, system=system, clock=self._clock)

    def resume(self, prefix: str | None = None, *, model: str = "") -> Session:
        """Continue a session, by default the newest. One that another process has open is copied, and a note says so.

        `model` is the name of the model that answers from now on, by default the one that answered last.
        """
        summary = self.find(prefix) if prefix else self.newest()
        lock, available = self._lock(summary.id)
        saved = self.load(summary.id)
        session = self._copy(saved, model)
        if available:
            session.adopt(summary.id, summary.origin, lock)
        else:
            pid = holder_pid(lock_file(self.folder, summary.id))
            where = f"process {pid}" if pid else "another process"
            session.note(f"Session {summary.id} is open in {where}: this is a copy of it, {session.id}")
        return session

    def fork(self, prefix: str) -> Session:
        """A copy of a session under a new id and a title that says so, saved at once."""
        saved = self.load(self.find(prefix).id)
        session = self._copy(saved, "")
        session.save()
        session.save_settings({"title": clean_title(f"{saved.summary.title[: MAX_TITLE - 7]} (copy)")})
        return session

    def add(
        self,
        messages: Sequence[Message],
        *,
        system: str | None = None,
        model: str = "",
        title: str = "",
        tags: Sequence[str] = (),
    ) -> Session:
        """A session from a conversation that exists already, saved at once; `title` unless it is what it would have."""
        own = clean_title(title) if title.strip() else ""
        labelled = {"title": own if own != labels.title(messages) else "", "tags": list(tags)}
        stamp = Stamp(self._clock())
        session = Session(
            self.database,
            model=model,
            system=system,
            snapshot=Snapshot.linear(messages),
            stamps=[stamp] * len(messages),
            settings={name: value for name, value in labelled.items() if value},
            clock=self._clock,
        )
        session.save()
        return session

    def _copy(self, saved: SavedSession, model: str) -> Session:
        summary = saved.summary
        return Session(
            self.database,
            model=model or summary.model,
            system=summary.system,
            origin=summary.id,
            snapshot=saved.snapshot,
            stamps=saved.stamps,
            settings=saved.settings,
            clock=self._clock,
        )

    def _lock(self, name: str) -> tuple[FileLock | None, bool]:
        """The lock, if acquired, and whether the session is available: in a read-only folder it is, without a lock."""
        try:
            lock = FileLock.acquire(lock_file(self.folder, name))
        except OSError:
            return None, True
        return lock, lock is not None

    # Finding

    def list(self, limit: int | None = None) -> tuple[Summary, ...]:
        """At most `limit` sessions, the newest first."""
        return self._summaries(f"{NEWEST_FIRST} LIMIT ?", -1 if limit is None else limit)

    def newest(self) -> Summary:
        """The session that was changed last. Raises UsageError when there is none."""
        newest = self.list(1)
        if not newest:
            raise UsageError("There is no saved session to continue.", "Start one: pixtral chat")
        return newest[0]

    def find(self, prefix: str) -> Summary:
        """The session whose id begins with `prefix`. Raises UsageError when there is none, or several."""
        start = prefix.strip().lower()
        where = f"WHERE substr(name, 1, ?) = ? ORDER BY name != ?, {TOUCHED} DESC, updated DESC"
        summaries = self._summaries(where, len(start), start, start)
        if not summaries or not start:
            raise UsageError(f"There is no session {prefix!r}.", "See: pixtral sessions")
        if len(summaries) > 1 and summaries[0].id != start:
            names = ", ".join(summary.id for summary in summaries[:5]) + (", …" if len(summaries) > 5 else "")
            raise UsageError(f"{len(summaries)} sessions begin with {start}: {names}.", "Give more letters of its id")
        return summaries[0]

    def _summaries(self, clause: str, *parameters: object) -> tuple[Summary, ...]:
        query = f"SELECT {COLUMNS} FROM sessions s {clause}"
        nothing: tuple[Summary, ...] = ()
        return self.database.read(lambda c: tuple(map(summary_of, c.execute(query, parameters))), nothing)

    def settings(self, name: str) -> dict[str, Any]:
        """The stored settings of a session by its full id; empty if it has none."""

        def work(connection: sqlite3.Connection) -> dict[str, Any]:
            number = rows.session_number(connection, name)
            return {} if number is None else branch_rows.read_settings(connection, number)

        return self.database.read(work, {})

    def load(self, name: str) -> SavedSession:
        """A whole session by its full id, images included. Raises UsageError when there is none."""

        def work(connection: sqlite3.Connection) -> SavedSession | None:
            number = rows.session_number(connection, name)
            if number is None:
                return None
            query = f"SELECT {COLUMNS} FROM sessions s WHERE id = ?"
            row = connection.execute(query, (number,)).fetchone()
            stored = rows.read(connection, number, header_of(row).messages)
            snapshot, settings = branch_rows.read_branches(connection, number, [message for message, _ in stored])
            stamps = tuple(stamp for _, stamp in stored[: len(snapshot.nodes)])
            return SavedSession(summary_of(row), snapshot, stamps, settings)

        if saved := self.database.read(work, None):
            return saved
        raise UsageError(f"There is no session {name!r}.", "See: pixtral sessions")

    def search(self, text: str, limit: int = 50) -> tuple[SearchHit, ...]:
        """The messages that hold every word of `text`, in a call or its result too, or an image with that in its name;
        newest session first. Of a session whose title and tags hold them, and no message does, the title.
        """
        words = [rows.utf8_text(word).casefold() for word in text.split()]
        if not words:
            raise UsageError("Search for what?", "Give a word: pixtral sessions search dragon")
        names = "SELECT 1 FROM placements p WHERE p.message = m.id AND instr(fold(p.name), ?)"
        word_condition = f"(instr(fold(m.text), ?) OR EXISTS ({names}) OR EXISTS ({IN_CALLS}))"
        query = (
            f"SELECT position, role, text, {COLUMNS} FROM messages m JOIN sessions s ON m.session = s.id "
            f"WHERE {' AND '.join([word_condition] * len(words))} ORDER BY {TOUCHED} DESC NULLS LAST, s.updated DESC, s.id, position LIMIT ?"
        )
        parameters = [*(word for word in words for _ in range(3)), limit]

        def work(connection: sqlite3.Connection) -> tuple[SearchHit, ...]:
            found = connection.execute(query, parameters)
            return tuple(SearchHit(summary_of(row[3:]), row[0], row[1], _snippet(row[2], words)) for row in found)

        nothing: tuple[SearchHit, ...] = ()
        found = self.database.read(work, nothing)
        return self._with_titles(found, words)[:limit]

    def _with_titles(self, found: Sequence[SearchHit], words: Sequence[str]) -> tuple[SearchHit, ...]:
        """The hits with the sessions whose title and tags hold all words, in the order of the sessions."""
        hits: dict[str, list[SearchHit]] = {}
        for hit in found:
            hits.setdefault(hit.summary.id, []).append(hit)
        summaries = self.list()
        for summary in summaries:
            if all(word in summary.titled.casefold() for word in words):
                hits.setdefault(summary.id, [SearchHit(summary, 0, "title", summary.titled)])
        order = {summary.id: place for place, summary in enumerate(summaries)}
        return tuple(hit for name in sorted(hits, key=lambda name: order.get(name, 0)) for hit in hits[name])

    # Labels

    def rename(self, name: str, title: str) -> None:
        """Set the title of a session by its full id. Raises UsageError for an empty title and while the session is open."""
        self._relabel(name, {"title": clean_title(title)})

    def tag(self, name: str, tags: Sequence[str], *, remove: bool = False) -> tuple[str, ...]:
        """Add or remove tags of a session by its full id; returns its tags. Raises UsageError for an invalid tag and while it is open."""
        before = self.find(name).tags
        given = [clean_tag(tag) for tag in tags]
        after = [tag for tag in before if tag not in given] if remove else list(dict.fromkeys([*before, *given]))
        self._relabel(name, {"tags": after})
        return tuple(after)

    def _relabel(self, name: str, change: Mapping[str, Any]) -> None:
        file = self.folder / "locks" / name
        if is_held(file):
            raise UsageError(f"Session {name} is open in process {holder_pid(file)}.", "Do it there: /rename and /tag")

        def work(connection: sqlite3.Connection) -> None:
            if (number := rows.session_number(connection, name)) is not None:
                labels.write_labels(connection, number, change)

        self.database.write(work)

    # Removing

    def remove(self, names: Sequence[str]) -> int:
        """Remove sessions by their full ids, with the images that no other session has; returns the number of images.

        Raises UsageError, before anything is removed, if one is open in another process.
        """
        for name in names:
            file = self.folder / "locks" / name
            if is_held(file):
                raise UsageError(f"Session {name} is open in process {holder_pid(file)}.", "Leave it there first: /bye")
        return self._remove(names)

    def prune(self, *, before: float | None = None, keep: int = 0, dry: bool = False) -> PruneResult:
        """Remove the sessions last changed earlier than `before` (seconds since 1970), except the `keep` newest and open ones.

        A session that was changed after one with a later time is kept: the clock was wrong when it was saved. `dry`:
        nothing is removed.
        """
        oldest_first = reversed(self.list()[keep:])
        old = [*itertools.takewhile(lambda summary: before is None or summary.updated < before, oldest_first)][::-1]
        open_elsewhere = {summary.id for summary in old if is_held(self.folder / "locks" / summary.id)}
        removed = tuple(summary for summary in old if summary.id not in open_elsewhere)
        images = 0 if dry else self._remove([summary.id for summary in removed])
        return PruneResult(removed, tuple(summary for summary in old if summary.id in open_elsewhere), images)

    def _remove(self, names: Sequence[str]) -> int:
        def work(connection: sqlite3.Connection) -> int:
            connection.executemany("DELETE FROM sessions WHERE name = ?", [(name,) for name in names])
            return rows.delete_all_unused_images(connection)

        if not self.database.file.exists():
            return 0
        return self.database.delete(work)


def _snippet(text: str, words: Sequence[str], width: int = 60) -> str:
    """The text around the first match of a word, on one line of at most 2 × `width` characters."""
    line = " ".join(text.split())
    start_of_match = min((place for word in words if (place := line.casefold().find(word)) >= 0), default=0)
    start = max(0, start_of_match - width // 2) if len(line) > 2 * width else 0
    piece = line[start : start + 2 * width]
    return ("…" if start else "") + piece + ("…" if start + 2 * width < len(line) else "")
