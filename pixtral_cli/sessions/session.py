"""A conversation kept on disk as it happens: the `Store` of one Conversation. Leaves finding and listing to `sessions`."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.message import Message
from pixtral_cli.sessions import rows
from pixtral_cli.sessions.database import Database, SaveError, make_folder
from pixtral_cli.sessions.rows import Stamp
from pixtral_cli.util.locks import FileLock


class Session:
    """One conversation, durable whenever `keep` has returned without a new note.

    It comes to be on disk with its first message and is locked to this process from then on. Where it cannot be written, the
    conversation goes on: a note says so once, and every later change tries again to save all that is missing.
    `take_notes` gives what the user must be told; `model` is who answers: set it when that changes.
    """

    def __init__(
        self,
        database: Database,
        *,
        model: str = "",
        system: str | None = None,
        origin: str | None = None,
        history: Sequence[tuple[Message, Stamp]] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.id = rows.new_id()
        self.model = model
        self.system = system
        self.origin = origin
        self._database = database
        self._history = list(history)
        self._stored = 0  # so many messages at the start of the history stand on disk as they are here
        self._clock = clock
        self._lock: FileLock | None = None
        self._notes: list[str] = []
        self._troubled = False

    def conversation(self) -> Conversation:
        """The conversation, as far as it goes, to be continued here."""
        return Conversation(self.system, [message for message, _ in self._history], self)

    @property
    def saved(self) -> bool:
        """Is all that was said on disk?"""
        return self._stored == len(self._history) and not self._troubled

    def take_notes(self) -> list[str]:
        """What the user has not been told yet, a line each."""
        notes = self._database.notes + self._notes
        self._database.notes, self._notes = [], []
        return notes

    def note(self, line: str) -> None:
        self._notes.append(line)

    # Store

    def keep(self, messages: Sequence[Message]) -> None:
        """This is all that was said; what of it stands on disk already stays there untouched."""
        same = 0
        for message, (known, _) in zip(messages, self._history, strict=False):
            if message is not known:
                break
            same += 1
        now = self._clock()
        stamps = [Stamp(now, self.model if message.role == "assistant" else "") for message in messages[same:]]
        self._history[same:] = zip(messages[same:], stamps, strict=True)
        self._stored = min(self._stored, same)
        self.save()

    def instruct(self, text: str | None) -> None:
        """The system prompt is now `text`."""
        self.system = text
        if self._history:
            self.save()

    def renew(self) -> None:
        """Leave this session as it is on disk and begin a new one."""
        self.close()
        self.id, self.origin = rows.new_id(), None
        self._history, self._stored = [], 0

    def save(self) -> None:
        """Bring to disk what is not there; a note says so when that fails, and when it works again."""
        try:
            self._own()
            self._database.write(self._write)
        except (SaveError, OSError) as error:
            self._fail(error)
            return
        self._stored = len(self._history)
        if self._troubled:
            self._troubled = False
            self.note(f"Saved again, all of it, as session {self.id}")

    def close(self) -> None:
        """Save what could not be saved before, and let others open the session."""
        if self._troubled and self._history:
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
        self._stored = len(self._history)

    def _own(self) -> None:
        if not self._lock:
            self._lock = FileLock.acquire(lock_file(self._database.folder, self.id))

    def _write(self, connection: sqlite3.Connection) -> None:
        known = rows.session_number(connection, self.id)
        start = 0 if known is None else self._stored  # somebody may have removed it meanwhile
        session = self._header().write(connection, known)
        gone = rows.truncate(connection, session, start)
        for position, (message, stamp) in enumerate(self._history[start:], start):
            rows.write(connection, session, position, message, stamp)
        rows.delete_unused_images(connection, gone)
        if not self._history:
            connection.execute("DELETE FROM sessions WHERE id = ?", (session,))

    def _header(self) -> rows.Header:
        now = float(self._clock())
        created = self._history[0][1].created if self._history else now
        title = rows.title([message for message, _ in self._history])
        system = self.system and rows.utf8_text(self.system)
        return rows.Header(self.id, title, system, self.model, self.origin, len(self._history), created, now)

    def _fail(self, error: SaveError | OSError) -> None:
        if not self._troubled:
            self._troubled = True
            why = error.message if isinstance(error, SaveError) else f"{error.strerror}: {error.filename}"
            self.note(f"This conversation is not being saved. {why}")


def lock_file(folder: Path, name: str) -> Path:
    """Where the lock of a session is, its folder made if need be."""
    make_folder(folder / "locks")
    return folder / "locks" / name
