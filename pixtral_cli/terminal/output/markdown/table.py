"""Formats tables. No word is broken that fits into the window: if columns are too narrow, rows become records."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

GAP = 2  # columns between two cells


def table_lines(header: Sequence[Text], rows: Sequence[Sequence[Text]], width: int, console: Console) -> Iterator[Text]:
    """The lines of a table in at most `width` columns; the `justify` of a cell aligns it."""
    widths = _widths([header, *rows], width)
    if widths is None:
        yield from _records(header, rows)
        return
    bold = [_bold(cell) for cell in header]
    yield from _row(bold, widths, console)
    yield Text((" " * GAP).join("─" * column_width for column_width in widths), "dim")
    for row in rows:
        yield from _row(row, widths, console)


def _widths(rows: Sequence[Sequence[Text]], width: int) -> list[int] | None:
    """The widths of the columns: as the cells need, the widest ones reduced until all fit; None if a word would be broken."""
    columns = list(zip_longest(*rows, fillvalue=Text()))
    widths = [max(1, *(cell_len(cell.plain) for cell in column)) for column in columns]
    minimums = [
        max(1, *(cell_len(word) for cell in column for word in cell.plain.split() or [""])) for column in columns
    ]
    columns_left = width - GAP * (len(columns) - 1)
    if sum(minimums) > columns_left:
        return None
    while sum(widths) > columns_left:
        widest = max((place for place in range(len(widths)) if widths[place] > minimums[place]), key=widths.__getitem__)
        widths[widest] -= 1
    return widths


def _row(cells: Sequence[Text], widths: Sequence[int], console: Console) -> Iterator[Text]:
    wrapped = [list(cell.wrap(console, width, overflow="fold")) for cell, width in zip(cells, widths, strict=False)]
    for pieces in zip_longest(*wrapped, fillvalue=Text()):
        line = Text()
        for place, (piece, cell) in enumerate(zip(pieces, cells, strict=True)):
            aligned = piece.copy()
            aligned.rstrip()
            aligned.align(cell.justify if cell.justify in ("right", "center") else "left", widths[place])
            line.append_text(aligned)
            line.append(" " * GAP)
        line.rstrip()
        yield line


def _records(header: Sequence[Text], rows: Sequence[Sequence[Text]]) -> Iterator[Text]:
    """Each row as lines of `column: cell`, a blank line between two rows."""
    if not rows:
        yield from (_bold(cell) for cell in header)
    for number, row in enumerate(rows):
        if number:
            yield Text()
        for name, cell in zip(header, row, strict=False):
            line = _bold(name)
            if name.plain.strip():
                line.append(": ")
            line.append_text(cell)
            line.justify = "left"
            yield line


def _bold(cell: Text) -> Text:
    text = cell.copy()
    text.stylize("bold")
    return text
