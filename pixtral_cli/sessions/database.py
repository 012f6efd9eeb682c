"""The session database, one SQLite file that is opened for each operation: creation, migration, repair."""

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

# Migration number N (from 1) brings a database from version N - 1 to version N.
MIGRATIONS: tuple[str, ...] = (tables.SCHEMA, tables.BRANCHES, tables.DETAILS, tables.TOOL_ROUNDS)

UNWRITABLE_CODES = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)
DAMAGED_CODES = (
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
)  # SQLITE_ERROR: a table is not as this program made it
AUTO_VACUUM_INCREMENTAL = 2  # value of SQLite's pragma auto_vacuum
BEGIN_READ, BEGIN_WRITE = "BEGIN", "BEGIN IMMEDIATE"


ELSEWHERE = "Check the disk and its permissions; PIXTRAL_HOME names another place"


class SaveError(PixtralError):
    """The session database cannot be read or written."""


class Database:
    """The file `sessions.db` in a folder. `notes` collects messages for the user, a line each."""

    def __init__(self, folder: Path, migrations: Sequence[str] = MIGRATIONS) -> None:
        self.folder = folder
        self.file = folder / "sessions.db"
        self.notes: list[str] = []
        self._migrations = migrations

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in one durable transaction, in a new database if there is none. Raises SaveError."""
        with self._translated_errors():
            if not self.file.exists():
                self._create()
            return self._with_repair(lambda: self._transaction(work, BEGIN_WRITE))

    def read(self, work: Callable[[sqlite3.Connection], T], default: T) -> T:
        """Run `work`, which only reads; returns `default` if there is no database. Raises SaveError."""
        with self._translated_errors():
            if not self.file.exists():
                return default
            try:
                return self._with_repair(lambda: self._transaction(work, BEGIN_READ))
            except sqlite3.OperationalError as error:
                if _code(error) not in UNWRITABLE_CODES or (self._wal.exists() and self._wal.stat().st_size):
                    raise
            # A read-only folder has no place for a write-ahead log. Without a log the file holds everything.
            with contextlib.closing(self._connect("immutable=1")) as connection:
                return work(connection)

    def delete(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work`, which deletes rows, and shrink the file; works on a full disk too. Raises SaveError."""
        with self._translated_errors():
            try:
                result = self._with_repair(lambda: self._transaction(work, BEGIN_WRITE))
            except sqlite3.OperationalError as error:
                if _code(error) not in UNWRITABLE_CODES:
                    raise
                return self._delete_in_place(work)
            with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(self._connect()) as connection:
                _shrink(connection)  # skipped while another process uses the file
        return result

    def _delete_in_place(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Delete without a log or journal file, for a full disk. If the process is killed meanwhile, `_repair` is needed."""
        with contextlib.closing(self._connect()) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # needs no file for shared memory
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.execute(BEGIN_WRITE)
            with connection:
                result = work(connection)
            with contextlib.suppress(sqlite3.OperationalError):
                _shrink(connection)
                connection.execute("PRAGMA locking_mode = NORMAL")
                connection.execute("PRAGMA journal_mode = WAL")
        return result

    def _with_repair(self, attempt: Callable[[], T]) -> T:
        """The result of `attempt`; if it raises DamagedRow the database is repaired and it is called again."""
        with contextlib.suppress(tables.DamagedRow):
            return attempt()
        with self._exclusive():
            with contextlib.suppress(tables.DamagedRow):
                return attempt()  # another process may have repaired it while this one waited
            self._repair()
            return attempt()

    def _transaction(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        if self.file.stat().st_size < PAGE_SIZE:
            raise tables.DamagedRow("cut short")  # SQLite would take it for a new database
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

    def _connect(self, query: str = "mode=rw") -> sqlite3.Connection:
        uri = f"{self.file.resolve().as_uri()}?{query}"
        connection = sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        connection.create_function("fold", 1, str.casefold, deterministic=True)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # so that `salvage` does not find deleted rows
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        known = len(self._migrations)
        if _version(connection) == known:
            return
        connection.execute(BEGIN_WRITE)
        with connection:
            version = _version(connection)  # another process may have been first
            if version > known:
                raise SaveError(f"A newer pixtral saved the sessions in {self.file}.", "Upgrade pixtral to use them")
            for statement in ";".join(self._migrations[version:]).split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {known}")

    # A new database is written to a temporary file and renamed when it is complete.

    def _create(self) -> None:
        make_folder(self.folder)
        with self._exclusive(), self._new_database(lambda connection: None) as new:
            if not self.file.exists():
                self._put_in_place(new)

    def _repair(self) -> None:
        """Copy all readable rows to a new file, which replaces the damaged one; that is kept under another name."""
        from pixtral_cli.sessions import repair

        sessions = gaps = 0

        def fill(connection: sqlite3.Connection) -> None:
            nonlocal sessions, gaps
            sessions, gaps = repair.recover_sessions(self.file, self._wal, connection)

        with self._new_database(fill) as new:
            damaged = self._move_aside()
            self._put_in_place(new)
        outcome = f"{sessions} sessions were carried over, {gaps} of them with gaps"
        self.notes.append(f"The session file was damaged: {outcome}; the original is kept as {damaged}")

    def _move_aside(self) -> Path:
        """Give the damaged file and its log a name with the date: the log must not be replayed on the new file."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        names = (
            self.folder / f"sessions.damaged-{stamp}{more}.db" for more in ("", *(f"-{n}" for n in range(2, 1000)))
        )
        damaged = next(name for name in names if not name.exists())
        try:
            os.link(self.file, damaged)
        except OSError:  # a file system without hard links
            shutil.copyfile(self.file, damaged)
            damaged.chmod(0o600)
        if self._wal.exists():
            self._wal.replace(f"{damaged}-wal")
        Path(f"{self.file}-shm").unlink(missing_ok=True)
        return damaged

    @property
    def _wal(self) -> Path:
        return Path(f"{self.file}-wal")

    @contextlib.contextmanager
    def _new_database(self, fill: Callable[[sqlite3.Connection], None]) -> Iterator[Path]:
        """A complete database in a temporary file, its rows written by `fill`."""
        handle, name = tempfile.mkstemp(
            prefix="sessions.", suffix=".new", dir=self.folder
        )  # readable by its owner alone
        os.close(handle)
        try:
            with contextlib.closing(sqlite3.connect(name, isolation_level=None)) as connection:
                connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
                self._migrate(connection)
                connection.execute(BEGIN_WRITE)
                with connection:
                    fill(connection)
                connection.execute("PRAGMA journal_mode = WAL")
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def _put_in_place(self, new: Path) -> None:
        new.replace(self.file)
        atomic.sync_folder(self.folder)

    def _exclusive(self) -> FileLock:
        """The lock under which a database is created or repaired; waits for it."""
        lock = FileLock.acquire(self.folder / "making.lock", wait=True)
        assert lock is not None  # it waited
        return lock

    def _is_read_only(self) -> bool:
        """Whether the folder exists and nothing can be written into it."""
        return self.folder.is_dir() and not os.access(self.folder, os.W_OK)

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Turns errors of SQLite and the system into SaveError."""
        try:
            yield
        except (sqlite3.Error, tables.DamagedRow) as error:
            why = "its folder is read-only" if self._is_read_only() else str(error)
            raise SaveError(f"Cannot use {self.file}: {why}", ELSEWHERE) from error
        except OSError as error:
            raise SaveError(f"Cannot use {self.folder}: {error.strerror or error}", ELSEWHERE) from error


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, with mode 0700."""
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _shrink(connection: sqlite3.Connection) -> None:
    """Return free pages to the file system. A file of an older version is rewritten once, to turn auto_vacuum on."""
    if connection.execute("PRAGMA auto_vacuum").fetchone() == (AUTO_VACUUM_INCREMENTAL,):
        connection.executescript("PRAGMA incremental_vacuum")  # `execute` would free one page
    else:
        connection.execute(f"PRAGMA auto_vacuum = {AUTO_VACUUM_INCREMENTAL}")
        connection.execute("VACUUM")


def _code(error: Exception) -> int:
    """SQLite's primary result code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
