"""The session database: one SQLite file, opened for each operation; its creation, migration and checks."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pixtral_cli.errors import PixtralError
from pixtral_cli.sessions import tables
from pixtral_cli.sessions.salvage import PAGE_SIZE
from pixtral_cli.util import atomic
from pixtral_cli.util.locks import FileLock

T = TypeVar("T")

# Each migrates a database from the version before it to its own, counted from 1.
MIGRATIONS: tuple[str, ...] = (tables.SCHEMA, tables.BRANCHES, tables.DETAILS, tables.TOOL_ROUNDS)

UNWRITABLE_CODES = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)
DAMAGED_CODES = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
)  # the last: a table is not as we made it
INCREMENTAL = 2  # of SQLite's auto_vacuum
READ, WRITE = "BEGIN", "BEGIN IMMEDIATE"


ELSEWHERE = "Check the disk and its permissions; PIXTRAL_HOME names another place"


class SaveError(PixtralError):
    """The sessions cannot be read or written where they are kept."""


class Database:
    """The file `sessions.db` of a folder. `notes` collects messages for the user, a line each."""

    def __init__(self, folder: Path, migrations: Sequence[str] = MIGRATIONS) -> None:
        self.folder = folder
        self.file = folder / "sessions.db"
        self.notes: list[str] = []
        self._migrations = migrations

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` in one durable transaction, making the database if there is none. Raises SaveError."""
        with self._words():
            if not self.file.exists():
                self._make()
            return self._mended(lambda: self._transaction(work, WRITE))

    def read(self, work: Callable[[sqlite3.Connection], T], default: T) -> T:
        """Do `work`, which only reads; `default` if nothing was ever saved. Raises SaveError."""
        with self._words():
            if not self.file.exists():
                return default
            try:
                return self._mended(lambda: self._transaction(work, READ))
            except sqlite3.OperationalError as error:
                if _code(error) not in UNWRITABLE_CODES or (self._log.exists() and self._log.stat().st_size):
                    raise
            # Where nothing can be written there is no place for a log. Without one the file itself is all there is.
            with contextlib.closing(self._connect("immutable=1")) as connection:
                return work(connection)

    def delete(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work`, which deletes rows, and give what they took back to the disk; on a full one too. Raises SaveError."""
        with self._words():
            try:
                result = self._mended(lambda: self._transaction(work, WRITE))
            except sqlite3.OperationalError as error:
                if _code(error) not in UNWRITABLE_CODES:
                    raise
                return self._delete_in_place(work)
            with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(self._connect()) as connection:
                _shrink(connection)  # later, if another process is at work in the file
        return result

    def _delete_in_place(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Delete without a log or a journal, for which the disk has no room; a kill in mid-deletion is `_repair`'s to mend."""
        with contextlib.closing(self._connect()) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # needs no file for shared memory
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute(WRITE)
            with connection:
                result = work(connection)
            with contextlib.suppress(sqlite3.OperationalError):
                _shrink(connection)
                connection.execute("PRAGMA locking_mode = NORMAL")
                connection.execute("PRAGMA journal_mode = WAL")
        return result

    def _mended(self, attempt: Callable[[], T]) -> T:
        with contextlib.suppress(tables.DamagedRow):
            return attempt()
        with self._alone():
            with contextlib.suppress(tables.DamagedRow):
                return attempt()  # another process has mended it while this one waited
            self._repair()
            return attempt()

    def _transaction(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        if self.file.stat().st_size < PAGE_SIZE:
            raise tables.DamagedRow("cut short")  # SQLite would take it for a new one, but it was put in place whole
        try:
            with contextlib.closing(self._connect()) as connection:
                self._migrate(connection)
                connection.execute(begin)
                with connection:
                    return work(connection)
        except UnicodeDecodeError as error:  # SQLite quotes a damaged schema
            raise tables.DamagedRow("the schema") from error
        except sqlite3.DatabaseError as error:
            if _code(error) in DAMAGED_CODES:
                raise tables.DamagedRow(str(error)) from error
            raise

    def _connect(self, how: str = "mode=rw") -> sqlite3.Connection:
        uri = f"{self.file.resolve().as_uri()}?{how}"
        connection = sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        connection.create_function("fold", 1, str.casefold, deterministic=True)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what is removed cannot be salvaged either
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        known = len(self._migrations)
        if _version(connection) == known:
            return
        connection.execute(WRITE)
        with connection:
            version = _version(connection)  # another process may have been first
            if version > known:
                raise SaveError(f"A newer pixtral saved the sessions in {self.file}.", "Upgrade pixtral to use them")
            for statement in ";".join(self._migrations[version:]).split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {known}")

    # A database is put in place whole or not at all.

    def _make(self) -> None:
        make_folder(self.folder)
        with self._alone(), self._new(lambda connection: None) as new:
            if not self.file.exists():
                self._place(new)

    def _repair(self) -> None:
        """Carry what is readable over to a new file; the damaged one is kept beside it."""
        from pixtral_cli.sessions import repair

        sessions = gaps = 0

        def fill(connection: sqlite3.Connection) -> None:
            nonlocal sessions, gaps
            sessions, gaps = repair.recover_sessions(self.file, self._log, connection)

        with self._new(fill) as new:
            aside = self._keep_aside()
            self._place(new)
        what = f"{sessions} sessions were carried over, {gaps} of them with gaps"
        self.notes.append(f"The session file was damaged: {what}; the original is kept as {aside}")

    def _keep_aside(self) -> Path:
        """The damaged file and its log under a name with the date. The log must not be replayed on the new file."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        names = (
            self.folder / f"sessions.damaged-{stamp}{more}.db" for more in ("", *(f"-{n}" for n in range(2, 1000)))
        )
        aside = next(name for name in names if not name.exists())
        try:
            os.link(self.file, aside)
        except OSError:  # a file system without hard links
            shutil.copyfile(self.file, aside)
            aside.chmod(0o600)
        if self._log.exists():
            self._log.replace(f"{aside}-wal")
        Path(f"{self.file}-shm").unlink(missing_ok=True)
        return aside

    @property
    def _log(self) -> Path:
        return Path(f"{self.file}-wal")

    @contextlib.contextmanager
    def _new(self, fill: Callable[[sqlite3.Connection], None]) -> Iterator[Path]:
        handle, name = tempfile.mkstemp(
            prefix="sessions.", suffix=".new", dir=self.folder
        )  # readable by its owner alone
        os.close(handle)
        try:
            with contextlib.closing(sqlite3.connect(name, isolation_level=None)) as connection:
                connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                self._migrate(connection)
                connection.execute(WRITE)
                with connection:
                    fill(connection)
                connection.execute("PRAGMA journal_mode = WAL")
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def _place(self, new: Path) -> None:
        new.replace(self.file)
        atomic.sync_folder(self.folder)

    def _alone(self) -> FileLock:
        lock = FileLock.acquire(self.folder / "making.lock", wait=True)
        assert lock is not None  # it waited
        return lock

    @contextlib.contextmanager
    def _words(self) -> Iterator[None]:
        """The message for an error of SQLite or the system."""
        try:
            yield
        except (sqlite3.Error, tables.DamagedRow) as error:
            raise SaveError(f"Cannot use {self.file}: {error}", ELSEWHERE) from error
        except OSError as error:
            raise SaveError(f"Cannot use {self.folder}: {error.strerror or error}", ELSEWHERE) from error


def make_folder(folder: Path) -> None:
    """The folder and the missing ones above it, open to their owner alone."""
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _shrink(connection: sqlite3.Connection) -> None:
    """Cut free pages off the file: by moving as many of the last ones, or once, for a file of an older version, anew."""
    if connection.execute("PRAGMA auto_vacuum").fetchone() == (INCREMENTAL,):
        connection.executescript("PRAGMA incremental_vacuum")  # `execute` would free one page
    else:
        connection.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
        connection.execute("VACUUM")


def _code(error: Exception) -> int:
    """SQLite's primary result code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
