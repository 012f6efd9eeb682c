"""Shows the progress of a long job on stderr: a bar on a terminal that can redraw, elsewhere lines at intervals."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pixtral_cli.terminal.output.output import Output, window_size
from pixtral_cli.util.sanitize import visible

if TYPE_CHECKING:
    from rich.table import Column

LINE_INTERVAL = 60.0  # seconds between two lines, if nothing can be redrawn
TENTH_INTERVAL = 5.0  # seconds, at least, before a line for another tenth of the total
MIN_BAR_COLUMNS = 60  # narrower windows show no bar


class ShowProgress(Protocol):
    """Shows that `done` units are done, with `details` (the most important first); prints `note` on a line of its own."""

    def __call__(self, done: int, details: Sequence[str], note: str = "", label: str = "") -> None: ...


@dataclass(frozen=True, slots=True)
class _Counts:
    """Formats counts: `12 of 3,000 rows`, or `1.2 GiB of 3.0 GiB`."""

    total: int | None
    unit: str
    format: Callable[[int], str]

    def short(self, done: int, separator: str = "/") -> str:
        return self.format(done) if self.total is None else f"{self.format(done)}{separator}{self.format(self.total)}"

    def long(self, done: int, label: str) -> str:
        return f"{label}: " * bool(label) + f"{self.short(done, ' of ')} {self.unit}".rstrip()


@contextmanager
def progress_bar(
    out: Output,
    total: int | None,
    unit: str,
    *,
    format: Callable[[int], str] = "{:,}".format,
    first_line: bool = False,
) -> Iterator[ShowProgress]:
    """A context with a function that shows the progress. On a terminal the bar is removed at the end.

    `total` is None if it is unknown. `format` formats a count. `first_line`: without redrawing, the first count is shown
    at once.
    """
    counts = _Counts(total, unit, format)
    if out.quiet:
        yield lambda done, details, note="", label="": None
    elif out.spinner:
        with _bar(out, counts) as show:
            yield show
    else:
        yield _note_lines(out, counts, first_line=first_line)


def _note_lines(out: Output, counts: _Counts, *, first_line: bool) -> ShowProgress:
    last_tenth, last_time = 0, float("-inf") if first_line else time.monotonic()

    def show(done: int, details: Sequence[str], note: str = "", label: str = "") -> None:
        nonlocal last_tenth, last_time
        now, tenth_reached = time.monotonic(), 10 * done // counts.total if counts.total else 0
        if note:
            out.note(note)
        if now >= last_time + (TENTH_INTERVAL if tenth_reached > last_tenth else LINE_INTERVAL):
            last_tenth, last_time = tenth_reached, now
            out.note(" · ".join([counts.long(done, label), *details]))

    return show


@contextmanager
def _bar(out: Output, counts: _Counts) -> Iterator[ShowProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
    from rich.text import Text

    text = TextColumn("{task.description}", markup=False, table_column=_one_line_column())
    columns: list[ProgressColumn] = [SpinnerColumn(), text]
    if counts.total is not None and window_size(out.stderr).columns >= MIN_BAR_COLUMNS:
        columns.append(BarColumn())
    console = Console(file=out.stderr)
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False, refresh_per_second=4
    ) as bars:
        task = bars.add_task("", total=counts.total)

        def show(done: int, details: Sequence[str], note: str = "", label: str = "") -> None:
            if note:
                console.print(Text(visible(note)))
            text = _fit_text(counts, done, details, label, window_size(out.stderr).columns - 2)
            bars.update(task, completed=done, description=text)

        show(0, ())
        yield show


def _fit_text(counts: _Counts, done: int, details: Sequence[str], label: str, columns: int) -> str:
    """The longest form of the line that fits into `columns`; details are left out from the end."""
    short = [counts.short(done), *details]
    texts = [
        " · ".join([counts.long(done, label), *details]),
        *(" · ".join(short[:count]) for count in range(len(short), 0, -1)),
    ]
    return next((text for text in texts if len(text) <= columns), f"{texts[-1][: columns - 1]}…")


def _one_line_column() -> "Column":
    from rich.table import Column

    return Column(no_wrap=True, overflow="ellipsis")
