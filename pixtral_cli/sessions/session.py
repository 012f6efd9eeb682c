"""A conversation that is saved as it happens: the `Store` of one Conversation."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.message import Message
from pixtral_cli.chat.tree import Snapshot
from pixtral_cli.sessions import branch_rows, labels, rows
from pixtral_cli.sessions.database import Database, SaveError, make_folder
from pixtral_cli.sessions.rows import Stamp
from pixtral_cli.util.locks import FileLock


class Session:
    """One conversation, durable whenever `keep` has returned without a new note.

    It comes to be on disk with its first message and is locked to this process from then on. Where it cannot be written, the
    conversation goes on: a note says so once, and every later change tries again to save all that is missing.
    `take_notes` returns messages for the user; `model` is who answers: set it when that changes. `settings` are what
    else shapes the answers, as JSON; `remember` changes them.
    """

    def __init__(
        self,
        database: Database,
        *,
        model: str = "",
        system: str | None = None,
        origin: str | None = None,
        snapshot: Snapshot | None = None,
        stamps: Sequence[Stamp] = (),
        settings: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.id = labels.new_id()
        self.model = model
        self.system = system
        self.origin = origin
        self.settings = dict(settings or {})
        self._database = database
        self._snapshot = snapshot or Snapshot()
        self._stamps = list(stamps)
        self._stored = 0  # so many messages at the start are on disk as they are here
        self._clock = clock
        self._lock: FileLock | None = None
        self._notes: list[str] = []
        self._failing = False

    def conversation(self) -> Conversation:
        """The conversation, as far as it goes, to be continued here."""
        return Conversation(self.system, store=self, snapshot=self._snapshot)

    @property
    def saved(self) -> bool:
        """Whether all messages are on disk."""
        return self._stored == len(self._snapshot.nodes) and not self._failing

    def take_notes(self) -> list[str]:
        """The messages for the user that were not taken yet, a line each."""
        notes = self._database.notes + self._notes
        self._database.notes, self._notes = [], []
        return notes

    def note(self, line: str) -> None:
        self._notes.append(line)

    # Store

    def keep(self, snapshot: Snapshot) -> None:
        """This is the conversation now; messages that are on disk already stay untouched."""
        same = 0
        for node, known in zip(snapshot.nodes, self._snapshot.nodes, strict=False):
            if node.message is not known.message:
                break
            same += 1
        now = self._clock()
        messages = [node.message for node in snapshot.nodes]
        self._stamps[same:] = [Stamp(now, self.model if one.role == "assistant" else "") for one in messages[same:]]
        self._snapshot = snapshot
        self._stored = min(self._stored, same)
        if self._begun:
            self.save()
        elif self._lock:
            self._discard()

    def set_system(self, text: str | None) -> None:
        """The system prompt is now `text`."""
        self.system = text
        if self._begun:
            self.save()

    def remember(self, settings: Mapping[str, Any]) -> None:
        """Store settings of the answers, to be restored when the session is resumed; other names keep their values."""
        if self.settings | dict(settings) != self.settings:
            self.settings |= settings
            if self._begun:
                self.save()

    def start_new(self) -> None:
        """Leave this session as it is on disk and begin a new one."""
        self.close()
        self.settings = {name: value for name, value in self.settings.items() if name not in ("title", "tags")}
        self.id, self.origin = labels.new_id(), None
        self._snapshot, self._stamps, self._stored = Snapshot(), [], 0

    def save(self) -> None:
        """Bring to disk what is not there; a note says so when that fails, and when it works again."""
        try:
            self._own()
            self._database.write(self._write)
        except (SaveError, OSError) as error:
            self._fail(error)
            return
        self._stored = len(self._snapshot.nodes)
        if self._failing:
            self._failing = False
            self.note(f"Saved again, all of it, as session {self.id}")

    def close(self) -> None:
        """Save what could not be saved before, and let others open the session."""
        if self._failing and self._begun:
            self.save()
        if self._lock:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Loading and writing

    def take(self, name: str, origin: str | None, lock: FileLock | None) -> None:
        """Be the stored session `name`, locked already, of which this was a copy."""
        self.id, self.origin, self._lock = name, origin, lock
        self._stored = len(self._snapshot.nodes)

    @property
    def _begun(self) -> bool:
        """Is there anything to keep: a message, or a picture for the first one?"""
        return bool(self._snapshot.nodes or self._snapshot.staged)

    def _discard(self) -> None:
        """Nothing of it is left: the pictures for its first question were all taken back."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM sessions WHERE name = ?", (self.id,))
            rows.delete_all_unused_images(connection)

        with contextlib.suppress(SaveError, OSError):
            self._database.write(work)

    def _own(self) -> None:
        if not self._lock:
            self._lock = FileLock.acquire(lock_file(self._database.folder, self.id))

    def _write(self, connection: sqlite3.Connection) -> None:
        known = rows.session_number(connection, self.id)
        start = 0 if known is None else self._stored  # it may have been removed meanwhile
        session = self._header().write(connection, known)
        removed = rows.truncate(connection, session, start)
        nodes, staged = self._snapshot.nodes, self._snapshot.staged
        for position, node in enumerate(nodes[start:], start):
            rows.write(connection, session, position, node.message, self._stamps[position])
        if staged:
            rows.write(connection, session, len(nodes), Message("user", staged), Stamp(self._clock()))
        branch_rows.write_branches(connection, session, self._snapshot, self.settings)
        rows.delete_unused_images(connection, removed)

    def _header(self) -> rows.Header:
        now = float(self._clock())
        nodes = self._snapshot.nodes
        created = self._stamps[0].created if self._stamps else now
        messages = self._snapshot.messages or [node.message for node in nodes]
        title = str(self.settings.get("title") or labels.title(messages or [Message("user", self._snapshot.staged)]))
        system = self.system and rows.utf8_text(self.system)
        count = len(nodes) + bool(self._snapshot.staged)
        return rows.Header(self.id, title, system, self.model, self.origin, count, created, now)

    def _fail(self, error: SaveError | OSError) -> None:
        if not self._failing:
            self._failing = True
            why = error.message if isinstance(error, SaveError) else f"{error.strerror}: {error.filename}"
            self.note(f"This conversation is not being saved. {why}")


def lock_file(folder: Path, name: str) -> Path:
    """The lock file of a session; its folder is created."""
    make_folder(folder / "locks")
    return folder / "locks" / name
