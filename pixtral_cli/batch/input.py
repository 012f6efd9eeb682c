"""The rows of a batch: lines of a file or pipe, or files that match patterns. Their content is read by `row_reader`."""

import glob
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from pixtral_cli.errors import UsageError
from pixtral_cli.util.sanitize import visible

MAX_LINE = 64_000_000  # bytes; the server has the same limit for a request body
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class InputRow:
    """A line, or the path of an image.

    `number` counts from 1; `digest`: SHA-256 of its bytes; `data`: None where it is longer than `MAX_LINE`; `line`: the
    line of the file where it begins, which differs where there is a header or a blank line; 0 where there is no file.
    """

    number: int
    data: bytes | None = field(repr=False)
    digest: str
    line: int = 0

    @property
    def label(self) -> str:
        """What it is called in messages, with the number by which an editor finds it: "Row 5 (line 6)"."""
        return row_label(self.number, self.line)


def row_label(number: int, line: int) -> str:
    """The name of row `number`, with the number by which an editor finds it where that differs."""
    return f"Row {number} (line {line})" if line not in (0, number) else f"Row {number}"


class RowSource(Protocol):
    """Rows in order.

    `folder`: the base of relative paths in them; `count`: the number of rows, None where it is not known.
    """

    @property
    def name(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    def count(self) -> int | None: ...

    def rows(self) -> Iterator[InputRow]: ...


@dataclass(frozen=True, slots=True)
class FileLines:
    """The lines of a file or a named pipe, without blank ones. Raises UsageError when it cannot be read."""

    path: Path

    @property
    def name(self) -> str:
        return visible(self.path.name, 60)

    @property
    def folder(self) -> Path:
        return Path() if self.path.is_fifo() else self.path.parent

    def count(self) -> int | None:
        return None if self.path.is_fifo() else sum(1 for _ in self.rows())  # a pipe can be read only once

    def rows(self) -> Iterator[InputRow]:
        try:
            with self.path.open("rb") as stream:
                yield from _read_lines(stream)
        except OSError as error:
            why = f"{visible(str(self.path), 80)} cannot be read: {error.strerror}"
            raise UsageError(why, "Check the name") from error


@dataclass(frozen=True, slots=True)
class StdinLines:
    """The lines of stdin, as they arrive."""

    stream: BinaryIO
    name: str = "stdin"
    folder: Path = Path()

    def count(self) -> int | None:
        return None

    def rows(self) -> Iterator[InputRow]:
        return _read_lines(self.stream)


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Image files, each one row."""

    files: Sequence[str]
    name: str = "the pattern"
    folder: Path = Path()

    def count(self) -> int | None:
        return len(self.files)

    def rows(self) -> Iterator[InputRow]:
        for number, file in enumerate(self.files, 1):
            data = file.encode("utf-8", "surrogateescape")
            yield InputRow(number, data, hashlib.sha256(data).hexdigest())


def match_files(patterns: Sequence[str]) -> ImageFiles:
    """The files that match, sorted by name with numbers by value (page2 before page10). Raises UsageError if none do."""
    expanded = [str(Path(pattern).expanduser()) for pattern in patterns]
    matched = [sorted(glob.glob(pattern, recursive=True), key=_natural_order) for pattern in expanded]  # noqa: PTH207  absolute ones too
    files = [file for names in matched for file in names if not Path(file).is_dir()]
    if not files:
        shown = visible(", ".join(patterns), 80)
        folder = next((pattern for pattern in patterns if Path(pattern).expanduser().is_dir()), None)
        inside = (
            f"Those in the folder: --glob '{folder}/*'"
            if folder
            else "** reaches into folders: --glob 'scans/**/*.png'"
        )
        raise UsageError(f"No file matches {shown}", inside)
    return ImageFiles(tuple(dict.fromkeys(files)))


def _natural_order(name: str) -> list[tuple[int, str]]:
    """A sort key that compares the numbers in names by value."""
    return [(int(part), part) if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _read_lines(stream: BinaryIO) -> Iterator[InputRow]:
    """The lines that are not blank, without byte order marks and surrounding white space."""
    number = at = 0
    while data := stream.readline(MAX_LINE + 1):
        digest = hashlib.sha256(data.removeprefix(BOM).strip())
        line: bytes | None = data
        at += 1
        while len(data) > MAX_LINE and not data.endswith(b"\n"):
            line, data = None, stream.readline(MAX_LINE + 1)
            digest.update(data)
        if line is None or (line := _strip(line)):
            number += 1
            yield InputRow(number, line, digest.hexdigest(), at)


def _strip(line: bytes) -> bytes:
    return line.removeprefix(BOM).strip()
