"""Locks between processes: locked files that hold the process id of their owner. A lock ends with its process."""

import contextlib
import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock_handle(handle: int, wait: bool) -> None:
        os.lseek(handle, 1 << 20, os.SEEK_SET)  # far behind the process id, which must stay readable
        msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock_handle(handle: int, wait: bool) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


class FileLock:
    """A lock that is held until `release` or the end of the process, be it by SIGKILL."""

    def __init__(self, file: Path, handle: int) -> None:
        self.file = file
        self._handle = handle

    @classmethod
    def acquire(cls, file: Path, *, wait: bool = False) -> "FileLock | None":
        """Acquire the lock; None if another process holds it and `wait` is False. Raises OSError if it cannot be created."""
        while True:
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                _lock_handle(handle, wait)
            except (BlockingIOError, PermissionError):  # the second on Windows
                os.close(handle)
                return None
            if _is_same_file(file, handle):
                with contextlib.suppress(OSError):  # on a full disk the lock holds without the process id
                    os.truncate(handle, 0)
                    os.write(handle, str(os.getpid()).encode())
                return cls(file, handle)
            os.close(handle)  # its last holder removed the file while we waited for it

    def release(self) -> None:
        """Remove the lock file and release the lock."""
        with contextlib.suppress(OSError):
            self.file.unlink()
        os.close(self._handle)

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def holder_pid(file: Path) -> str:
    """The id of the process that holds the lock, "" if it cannot be read."""
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def is_held(file: Path) -> bool:
    """Whether a running process holds the lock."""
    if not file.exists():
        return False
    lock = FileLock.acquire(file)
    if lock:
        lock.release()
    return lock is None


def _is_same_file(file: Path, handle: int) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
