"""The output of a batch: whole lines only, and the state of an earlier run to resume from."""

import contextlib
import json
import os
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Protocol

from pixtral_cli.batch.input import InputRow
from pixtral_cli.batch.results import LINE_KEY, LINE_STARTS, ROW_DIGITS, row_key
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.util import atomic
from pixtral_cli.util.sanitize import visible

SYNC_INTERVAL = (
    1.0  # seconds from one sync to the next line that makes one; a killed process loses nothing even between them
)


GO_ON = "The same command goes on behind the last whole line"


class Output(Protocol):
    """Takes lines in order. `write` either writes the whole line or raises and writes nothing."""

    def write(self, line: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class ResumeState:
    """The state of an earlier run: the number of its lines, and the numbers of those that are failures."""

    lines: int = 0
    failed: Sequence[int] = ()


class Journal:
    """A file that grows by whole lines; a failed write is undone."""

    def __init__(
        self, path: Path, *, every: float = SYNC_INTERVAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self._every, self._clock = every, clock
        self._file = _open_append(path)
        self._end = os.fstat(self._file).st_size
        self._synced = clock()

    def resume(self, rows: Iterator[InputRow], settings: str, source: str) -> ResumeState:
        """Take one row for each line in the file and check that they belong together; truncate a torn last line.

        Raises UsageError when the file is not a batch's output, or of other rows or settings.
        """
        lines, whole, failed = 0, 0, array("Q")
        with self.path.open("rb") as stream:
            for line in stream:
                match = LINE_KEY.match(line)
                if not line.endswith(b"\n") or match is None:
                    self._check_torn(line, whole, self._end)
                    break
                self._check_row(next(rows, None), match[1].decode(), settings, lines + 1, source)
                lines, whole = lines + 1, whole + len(line)
                if _is_failure(line):
                    failed.append(lines)
        self._cut(whole)
        return ResumeState(lines, failed)

    def replace_failures(self, other: "Journal") -> None:
        """Replace the failed lines by those of another journal, in order and atomically; the other file is deleted."""
        try:
            with self.path.open("rb") as old, other.path.open("rb") as mended, atomic.replacing(self.path) as new:
                new.writelines(next(mended) if _is_failure(line) else line for line in old)
        except OSError as error:
            raise PixtralError(f"{self._name} cannot be written: {error.strerror or error}", GO_ON) from error
        other.path.unlink()
        os.close(self._file)
        self._file = _open_append(self.path)
        self._end = os.fstat(self._file).st_size

    def check(self) -> None:
        """Raises UsageError when the file is not a batch's output."""
        with self.path.open("rb") as stream:
            first = stream.readline()
        if first and not LINE_KEY.match(first):
            self._check_torn(first, 0, self._end)

    def clear(self) -> None:
        """Empty the file. Raises UsageError when it is not a batch's output."""
        self.check()
        self._cut(0)

    def _check_torn(self, line: bytes, before: int, size: int) -> None:
        """Accept a last line without a newline, as a kill leaves it, if it begins as our lines do; else raise UsageError."""
        ours = any(line[: len(start)] == start[: len(line)] for start in LINE_STARTS)
        if before + len(line) == size and ours and not line.endswith(b"\n"):
            return
        if before == 0 and not ours:
            raise UsageError(f"{self._name} holds something else than a batch's output", "Name another file: -o FILE")
        raise UsageError(f"{self._name} is damaged {before:,} bytes in", "Cut it off there, or begin anew: --fresh")

    def _check_row(self, row: InputRow | None, written: str, settings: str, number: int, source: str) -> None:
        if row is None:
            raise UsageError(f"{self._name} has more lines than {source} has rows", _OTHER_FILE)
        expected = row_key(row, settings)
        if written[:ROW_DIGITS] != expected[:ROW_DIGITS]:
            raise UsageError(f"Row {number} of {source} is not the one that {self._name} answers", _OTHER_FILE)
        if written != expected:
            raise UsageError(
                f"{self._name} was answered by another model or with other settings",
                "Give the same flags, name another file, or begin anew: --fresh",
            )

    def write(self, line: bytes) -> None:
        """Add a line. Raises PixtralError, and then nothing was added."""
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            if self._clock() - self._synced >= self._every:
                self.sync()
        except OSError as error:
            with contextlib.suppress(OSError):
                self._cut(self._end)
            raise PixtralError(f"{self._name} cannot be written: {error.strerror or error}", GO_ON) from error
        self._end += len(line)

    def sync(self) -> None:
        os.fsync(self._file)
        self._synced = self._clock()

    def close(self) -> None:
        try:
            self.sync()
        except OSError as error:
            raise PixtralError(f"{self._name} may not be whole: {error.strerror or error}", GO_ON) from error
        finally:
            os.close(self._file)

    def _cut(self, size: int) -> None:
        if os.fstat(self._file).st_size > size:
            os.ftruncate(self._file, size)
        self._end = size

    @property
    def _name(self) -> str:
        return visible(str(self.path), 60)


_OTHER_FILE = "Name another file, or begin anew: --fresh"


class StreamOutput:
    """Output through a function; cannot be resumed."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def write(self, line: bytes) -> None:
        self._write(line.decode())


class DeviceOutput:
    """A named pipe or a device; cannot be resumed."""

    def __init__(self, device: RawIOBase, path: Path) -> None:
        self._device, self._path = device, path

    def write(self, line: bytes) -> None:
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self._device.write(rest) or 0 :]
        except BrokenPipeError as error:  # without its number, on which Typer would exit with 1
            raise BrokenPipeError("the reader of the output has closed it") from error
        except OSError as error:
            raise PixtralError(
                f"{visible(str(self._path), 60)} cannot be written: {error.strerror}", "Choose another place: -o FILE"
            ) from error


def _open_append(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)


def _is_failure(line: bytes) -> bool:
    try:
        return json.loads(line).get("error") is not None
    except (ValueError, AttributeError):
        return True
