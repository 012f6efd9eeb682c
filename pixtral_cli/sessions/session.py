"""The session of one conversation: the `Store` that saves every change of it to the database."""

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
    """One conversation. It is durable when `update` has returned without a new note.

    It is written to disk with its first message or staged image, and locked to this process from then on. When it
    cannot be written the conversation continues: a note says so once, and every later change tries to save all that is
    missing. `take_notes` returns the notes. `model` is the name of the model that answers; set it when that changes.
    `settings` are the answers' settings as JSON (see `AnswerSettings`); change them by `save_settings`.
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
        self._stored = 0  # the number of leading messages that are on disk in their present form
        self._clock = clock
        self._lock: FileLock | None = None
        self._notes: list[str] = []
        self._failing = False

    def conversation(self) -> Conversation:
        """The conversation so far; its changes are saved to this session."""
        return Conversation(self.system, store=self, snapshot=self._snapshot)

    @property
    def saved(self) -> bool:
        """Whether all messages are on disk."""
        return self._stored == len(self._snapshot.nodes) and not self._failing

    def take_notes(self) -> list[str]:
        """The messages for the user since the last call, a line each."""
        notes = self._database.notes + self._notes
        self._database.notes, self._notes = [], []
        return notes

    def note(self, line: str) -> None:
        """Add a message for the user."""
        self._notes.append(line)

    # Store

    def update(self, snapshot: Snapshot) -> None:
        """See `Store`. Messages that are on disk already are not written again."""
        unchanged = 0
        for node, existing in zip(snapshot.nodes, self._snapshot.nodes, strict=False):
            if node.message is not existing.message:
                break
            unchanged += 1
        now = self._clock()
        messages = [node.message for node in snapshot.nodes]
        self._stamps[unchanged:] = [
            Stamp(now, self.model if message.role == "assistant" else "") for message in messages[unchanged:]
        ]
        self._snapshot = snapshot
        self._stored = min(self._stored, unchanged)
        if self._has_content:
            self.save()
        elif self._lock:
            self._delete_stored()

    def set_system(self, text: str | None) -> None:
        """See `Store`."""
        self.system = text
        if self._has_content:
            self.save()

    def save_settings(self, settings: Mapping[str, Any]) -> None:
        """Store settings of the answers, for when the session is resumed. Settings that are not given keep their values."""
        if self.settings | dict(settings) != self.settings:
            self.settings |= settings
            if self._has_content:
                self.save()

    def start_new(self) -> None:
        """See `Store`. The new session has a new id."""
        self.close()
        self.settings = {name: value for name, value in self.settings.items() if name not in ("title", "tags")}
        self.id, self.origin = labels.new_id(), None
        self._snapshot, self._stamps, self._stored = Snapshot(), [], 0

    def save(self) -> None:
        """Write what is not on disk. When that fails, and when it succeeds again, there is a note."""
        try:
            self._acquire_lock()
            self._database.write(self._write)
        except (SaveError, OSError) as error:
            self._report_failure(error)
            return
        self._stored = len(self._snapshot.nodes)
        if self._failing:
            self._failing = False
            self.note(f"Saved again, all of it, as session {self.id}")

    def close(self) -> None:
        """Save what could not be saved before, and release the lock."""
        if self._failing and self._has_content:
            self.save()
        if self._lock:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Loading and writing

    def adopt(self, name: str, origin: str | None, lock: FileLock | None) -> None:
        """Become the stored session `name`, of which this is a copy in memory; `lock` is its lock, if there is one."""
        self.id, self.origin, self._lock = name, origin, lock
        self._stored = len(self._snapshot.nodes)

    @property
    def _has_content(self) -> bool:
        """Whether there is anything to save: a message or a staged image."""
        return bool(self._snapshot.nodes or self._snapshot.staged)

    def _delete_stored(self) -> None:
        """Remove the session from disk: it has no message, and all staged images were taken back."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM sessions WHERE name = ?", (self.id,))
            rows.delete_all_unused_images(connection)

        with contextlib.suppress(SaveError, OSError):
            self._database.write(work)

    def _acquire_lock(self) -> None:
        if not self._lock:
            self._lock = FileLock.acquire(lock_file(self._database.folder, self.id))

    def _write(self, connection: sqlite3.Connection) -> None:
        existing = rows.session_number(connection, self.id)
        start = 0 if existing is None else self._stored  # another process may have removed it
        session = self._header().write(connection, existing)
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

    def _report_failure(self, error: SaveError | OSError) -> None:
        if not self._failing:
            self._failing = True
            reason = error.message if isinstance(error, SaveError) else f"{error.strerror}: {error.filename}"
            self.note(f"This conversation is not being saved. {reason}")


def lock_file(folder: Path, name: str) -> Path:
    """The path of a session's lock file; creates its folder."""
    make_folder(folder / "locks")
    return folder / "locks" / name
