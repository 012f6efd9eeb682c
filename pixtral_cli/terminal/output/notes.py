"""The REPL's messages on stderr: notes, warnings, errors and small tables."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING

from pixtral_cli.errors import PixtralError
from pixtral_cli.terminal.output.output import Output
from pixtral_cli.terminal.output.word_wrap import wrap_words
from pixtral_cli.util.sanitize import clean, visible

if TYPE_CHECKING:
    from pixtral_cli.chat.conversation import Conversation

MANY_IMAGES, LAST_IMAGES = 50, 10
GAP = 2  # columns between the cells of a row
MAX_STATUS_LINES = 6  # of a toolbar
MIN_LAST_COLUMN = 20  # columns that are left of the last cell at least, or all are stacked
MIN_CUT = 12  # columns that are left at least of a cell that is cut


@dataclass(frozen=True, slots=True)
class Notes:
    """Writes messages; control characters in them are made visible."""

    out: Output
    colour: bool = False
    width: int | None = None  # None: the terminal's, which may change

    def say(self, text: str) -> None:
        for line in text.split("\n"):
            self._write(self._folded(visible(line)), "2")

    def tell(self, text: str, prefix: str = "") -> None:
        """Write text of several lines, each after a prefix."""
        for line in clean(text).split("\n"):
            self._write(self._folded(prefix + line))

    def warn(self, text: str) -> None:
        self._write(self._folded(visible(text)), "33")

    def error(self, error: PixtralError) -> None:
        """Write an error on one line: message and hint."""
        stop = "." if error.hint and not error.message.endswith((".", "!", "?")) else ""
        self._write(self._folded(visible(f"{error.message}{stop} {error.hint}".rstrip())), "31")

    def rows(self, rows: Sequence[Sequence[str]]) -> None:
        """Write a table; see `format_table`."""
        cells = [[visible(cell) for cell in row] for row in rows]
        for line in format_table(cells, self.columns):
            self._write(line)

    def draw(self, picture: str) -> None:
        """Write text with control sequences, unchanged."""
        self._write(picture)

    def fetch_indicator(self, urls: Sequence[str]) -> AbstractContextManager[object]:
        """A context that shows a spinner while URLs are fetched, or one line on a terminal without redrawing."""
        from pixtral_cli.terminal.output.spinner import Spinner
        from pixtral_cli.util.net import redacted_url

        if not urls:
            return contextlib.nullcontext()
        noun = f"fetching {redacted_url(urls[0])}"
        if not self.out.spinner:
            self.say(f"{noun}…")
            return contextlib.nullcontext()
        return Spinner(replace(self.out, doing=lambda: noun))

    @property
    def columns(self) -> int:
        """The width of the window; 80 if it is unknown."""
        if self.width:
            return self.width
        try:
            return os.get_terminal_size(self.out.stderr.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    @property
    def lines(self) -> int:
        """The height of the window; 24 if it is unknown."""
        try:
            return os.get_terminal_size(self.out.stderr.fileno()).lines or 24
        except (OSError, ValueError):
            return 24

    def _folded(self, text: str) -> str:
        return wrap_words(text, self.columns)

    def _write(self, text: str, style: str = "") -> None:
        styled = f"\x1b[{style}m{text}\x1b[0m" if self.colour and style and text else text
        with contextlib.suppress(OSError):  # the terminal is closed: the next read will report it
            print(styled, file=self.out.stderr, flush=True)


def wrap_pieces(pieces: Sequence[str], columns: int) -> str:
    """Pieces between dots, in up to six lines, the last piece always; one that is wider than a line is broken between words."""
    from wcwidth import wcswidth

    lines = [""]
    for piece in pieces:
        joined = f"{lines[-1]} · {piece}" if lines[-1] else piece
        if wcswidth(joined) <= columns:
            lines[-1] = joined
        else:
            lines += wrap_words(piece, columns).split("\n")
    lines = [line for line in lines if line]
    return "\n".join(lines if len(lines) <= MAX_STATUS_LINES else [*lines[: MAX_STATUS_LINES - 1], lines[-1]])


def format_table(rows: Sequence[Sequence[str]], columns: int) -> list[str]:
    """Rows as lines of aligned cells. The last column is wrapped; if too little space is left for it, the cells of each
    row are stacked, the first one unindented.
    """
    from wcwidth import wcswidth

    if not rows:
        return []
    widths = [max(wcswidth(cell) for cell in column) for column in zip_longest(*rows, fillvalue="")]
    before_last = sum(widths[:-1]) + GAP * (len(widths) - 1)
    width_left = columns - before_last
    if width_left < min(widths[-1], MIN_LAST_COLUMN):
        return [line for row in rows for line in _stacked_row(row, columns)]
    lines = []
    for row in rows:
        cells = list(row)
        more: list[str] = []
        if len(cells) == len(widths):
            cells[-1], *more = wrap_words(cells[-1], width_left).split("\n")
        spaced = [cell + " " * (width + GAP - wcswidth(cell)) for cell, width in zip(cells, widths, strict=False)]
        lines.append("".join(spaced).rstrip())
        lines += [" " * before_last + line for line in more if line]
    return lines


def print_table(rows: Sequence[Sequence[str]], out: Output) -> None:
    """Write a table to stdout, as wide as its terminal."""
    columns = os.get_terminal_size(out.stdout.fileno()).columns if out.stdout.isatty() else sys.maxsize
    for line in format_table([[visible(cell) for cell in row] for row in rows], columns):
        out.write(line + "\n")


def _stacked_row(row: Sequence[str], columns: int) -> Iterator[str]:
    yield from wrap_words(row[0], columns).split("\n")
    for cell in row[1:]:
        yield from (f"  {line}" for line in wrap_words(cell, columns - 2).split("\n") if line)


def one_line_rows(rows: "Sequence[tuple[str, ...]]", columns: int) -> "list[tuple[str, ...]]":
    """Rows of which each takes one line: the last cells are cut; where too little is left of them the cells before
    them go, all but the first of each row.
    """
    from wcwidth import wcswidth

    kept = list(rows)
    while True:
        before_last = zip(*(row[:-1] for row in kept), strict=True)
        left = columns - sum(max(map(wcswidth, column)) + GAP for column in before_last)
        if left >= MIN_CUT or not kept or len(kept[0]) < 3:
            return [(*row[:-1], cut(row[-1], max(left, MIN_CUT))) for row in kept]
        kept = [(*row[:-2], row[-1]) for row in kept]


def cut(text: str, columns: int) -> str:
    """Text that takes at most so many columns, with … where something is left out."""
    from wcwidth import wcswidth

    if wcswidth(text) <= columns:
        return text
    while text and wcswidth(text) >= columns:
        text = text[:-1]
    return f"{text.rstrip()}…"


def many_images_note(conversation: "Conversation", way: str) -> str:
    """A note for a resumed conversation with many images: the next answer takes long, and how to drop the older ones.

    "" for one with few images. `way` precedes the command that drops images, to say where it is typed.
    """
    sent = {image.key for message in conversation.history for image in message.all_images}
    numbers = [number for number, image in conversation.numbered.items() if image.key in sent]
    if len(numbers) < MANY_IMAGES:
        return ""
    earlier = " ".join(_ranges(numbers[:-LAST_IMAGES]))
    return (
        f"All {len(numbers)} images are read again before the next answer, which may take minutes; "
        f"{way}/drop {earlier} leaves the last {LAST_IMAGES}, and all that was said"
    )


def _ranges(numbers: Sequence[int]) -> Iterator[str]:
    """Ascending numbers as ranges such as `1-4` and `7`."""
    for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        members = [number for _, number in group]
        yield f"{members[0]}-{members[-1]}" if len(members) > 1 else f"{members[0]}"


def count_of(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {noun}" + ("s" if number != 1 else "")
