"""The outputs of a batch. A file holds whole lines only, from which an interrupted batch is resumed."""

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

from pixtral_cli.batch.input import InputRow, row_label
from pixtral_cli.batch.results import LINE_KEY, LINE_STARTS, ROW_DIGITS, row_key
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.util import atomic
from pixtral_cli.util.sanitize import visible

SYNC_INTERVAL = 1.0  # seconds between calls of fsync; what a killed process has written is kept even between them


GO_ON = "The same command goes on behind the last whole line"


class Output(Protocol):
    """Receives lines in order. `write` writes the whole line, or raises and writes nothing."""

    def write(self, line: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class ResumeState:
    """The state of an earlier run: how many lines it wrote, and the numbers (from 1) of the lines that are failures."""

    lines: int = 0
    failed: Sequence[int] = ()


class Journal:
    """A file to which whole lines are appended. A write that fails is undone."""

    def __init__(
        self, path: Path, *, sync_interval: float = SYNC_INTERVAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.path = path
        self._sync_interval, self._clock = sync_interval, clock
        self._file = _open_append(path)
        self._end = os.fstat(self._file).st_size
        self._synced = clock()

    def resume(self, rows: Iterator[InputRow], settings: str, source: str) -> ResumeState:
        """Consume the rows that the file answers and return its state; an incomplete last line is removed.

        Raises UsageError when the file is not a batch's output, or answers other rows or was written with other
        settings.
        """
        lines, size, failed = 0, 0, array("Q")
        with self.path.open("rb") as stream:
            for line in stream:
                match = LINE_KEY.match(line)
                if not line.endswith(b"\n") or match is None:
                    self._check_incomplete(line, size, self._end)
                    break
                self._check_row(next(rows, None), match[1].decode(), settings, lines + 1, source)
                lines, size = lines + 1, size + len(line)
                if _is_failure(line):
                    failed.append(lines)
        self._truncate(size)
        return ResumeState(lines, failed)

    def replace_failures(self, other: "Journal") -> None:
        """Replace the failed lines by those of another journal, in order and atomically; the other file is deleted."""
        try:
            with self.path.open("rb") as old, other.path.open("rb") as replacements, atomic.replacing(self.path) as new:
                new.writelines(next(replacements) if _is_failure(line) else line for line in old)
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
            self._check_incomplete(first, 0, self._end)

    def clear(self) -> None:
        """Empty the file. Raises UsageError when it is not a batch's output."""
        self.check()
        self._truncate(0)

    def _check_incomplete(self, line: bytes, before: int, size: int) -> None:
        """Accept a last line without a newline, which a killed process leaves, if it begins as a batch's lines do.

        `before`: bytes of the file before it; `size`: bytes of the file. Raises UsageError for any other line.
        """
        is_ours = any(line[: len(start)] == start[: len(line)] for start in LINE_STARTS)
        if before + len(line) == size and is_ours and not line.endswith(b"\n"):
            return
        if before == 0 and not is_ours:
            raise UsageError(f"{self._name} holds something else than a batch's output", "Name another file: -o FILE")
        raise UsageError(f"{self._name} is damaged {before:,} bytes in", "Cut it off there, or begin anew: --fresh")

    def _check_row(self, row: InputRow | None, written: str, settings: str, number: int, source: str) -> None:
        """Raises UsageError unless `written`, the key of a line, is the key of the row."""
        if row is None:
            raise UsageError(f"{self._name} has more lines than {source} has rows", _OTHER_FILE)
        expected = row_key(row, settings)
        if written[:ROW_DIGITS] != expected[:ROW_DIGITS]:
            raise UsageError(
                f"{row_label(number, row.line)} of {source} is not the one that {self._name} answers", _OTHER_FILE
            )
        if written != expected:
            raise UsageError(
                f"{self._name} was answered by another model or with other settings",
                "Give the same flags, name another file, or begin anew: --fresh",
            )

    def write(self, line: bytes) -> None:
        """Append a line. Raises PixtralError when it cannot be written; nothing is appended then."""
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            if self._clock() - self._synced >= self._sync_interval:
                self.sync()
        except OSError as error:
            with contextlib.suppress(OSError):
                self._truncate(self._end)
            raise PixtralError(f"{self._name} cannot be written: {error.strerror or error}", GO_ON) from error
        self._end += len(line)

    def sync(self) -> None:
        """Force what was written to disk. Raises OSError."""
        os.fsync(self._file)
        self._synced = self._clock()

    def close(self) -> None:
        """Close the file. Raises PixtralError when what was written may not be on disk."""
        try:
            self.sync()
        except OSError as error:
            raise PixtralError(f"{self._name} may not be whole: {error.strerror or error}", GO_ON) from error
        finally:
            os.close(self._file)

    def _truncate(self, size: int) -> None:
        if os.fstat(self._file).st_size > size:
            os.ftruncate(self._file, size)
        self._end = size

    @property
    def _name(self) -> str:
        return visible(str(self.path), 60)


_OTHER_FILE = "Name another file, or begin anew: --fresh"


class StreamOutput:
    """Output to a function, such as stdout's; cannot be resumed."""

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
    """Whether a line holds an error, or is not valid JSON."""
    try:
        return json.loads(line).get("error") is not None
    except (ValueError, AttributeError):
        return True
