"""Replaces files atomically: a temporary file in the same folder is written, synced and renamed."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: Path, *, mode: int | None = None, scratch: Path | None = None) -> Iterator[BinaryIO]:
    """A stream whose content replaces the file `path` at the end of the context; after an error the old file remains.

    Of a symbolic link the target is replaced. The file keeps its permissions unless `mode` is given; a new one gets
    0666 less the umask. `scratch` is a fixed name for the temporary file, for large files under a lock: the remains of a
    killed process are then overwritten. Raises OSError, also when `path` is not a regular file.
    """
    target = Path(os.path.realpath(path))
    with contextlib.suppress(FileNotFoundError):
        old = target.stat().st_mode
        if not stat.S_ISREG(old):
            raise OSError(errno.EINVAL, "Not a regular file", str(path))
        mode = stat.S_IMODE(old) if mode is None else mode
    creation_flag = os.O_TRUNC if scratch else os.O_EXCL
    scratch = scratch or target.with_name(f".pixtral-{secrets.token_hex(8)}.part")
    flags = os.O_WRONLY | os.O_CREAT | creation_flag | getattr(os, "O_BINARY", 0)
    try:
        with os.fdopen(os.open(scratch, flags, 0o666 if mode is None else 0o600), "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if mode is not None:
            scratch.chmod(mode)
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
    sync_folder(target.parent)


def write(path: Path, data: bytes | str, *, mode: int | None = None) -> None:
    """Replace the file's content; text is written as UTF-8, lone surrogates as `?`. See `replacing`."""
    with replacing(path, mode=mode) as stream:
        stream.write(data.encode("utf-8", "replace") if isinstance(data, str) else data)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, if the system can sync folders."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
