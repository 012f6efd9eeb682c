"""A lock that dies with its process, kill -9 included: an open file with its owner's number in it."""

import contextlib
import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock_handle(handle: int, wait: bool) -> None:
        os.lseek(handle, 1 << 20, os.SEEK_SET)  # far behind the number, which must stay readable
        msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock_handle(handle: int, wait: bool) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


class FileLock:
    """A lock held until `release` or the end of the process."""

    def __init__(self, file: Path, handle: int) -> None:
        self.file = file
        self._handle = handle

    @classmethod
    def acquire(cls, file: Path, *, wait: bool = False) -> "FileLock | None":
        """Take the lock, or None if another holds it. Raises OSError where no lock file can be made."""
        while True:
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                _lock_handle(handle, wait)
            except (BlockingIOError, PermissionError):  # the second on Windows
                os.close(handle)
                return None
            if _is_same_file(file, handle):
                with contextlib.suppress(OSError):  # a full disk: the lock holds, its owner's number is for people
                    os.truncate(handle, 0)
                    os.write(handle, str(os.getpid()).encode())
                return cls(file, handle)
            os.close(handle)  # its last holder removed the file while we waited for it

    def release(self) -> None:
        with contextlib.suppress(OSError):
            self.file.unlink()
        os.close(self._handle)

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def holder_pid(file: Path) -> str:
    """The number of the process that holds the lock, or "" if it cannot be read."""
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def is_held(file: Path) -> bool:
    """Does a living process hold this lock?"""
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
