"""How far a long job is, on stderr: a bar on a terminal that draws, now and then a line elsewhere. Knows no job."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from pixtral_cli.terminal.output.output import Output, window_size
from pixtral_cli.util.sanitize import visible

if TYPE_CHECKING:
    from rich.table import Column

LINE_INTERVAL = 60.0  # seconds after which there is a line where nothing can be redrawn
TENTH_INTERVAL = 5.0  # seconds after which there may be one at a tenth of the way
MIN_BAR_COLUMNS = 60  # columns below which there is no room for a bar

# How many are done; what else there is to say, the most important first; a note to stay on the screen.
ShowProgress: TypeAlias = Callable[[int, Sequence[str], str], None]


@contextmanager
def progress_bar(out: Output, total: int | None, what: str) -> Iterator[ShowProgress]:
    """A function that shows how many of `total` there are. Nothing but notes is left on a terminal at the end."""
    if out.quiet:
        yield lambda done, more, note: None
    elif out.spinner:
        with _bar(out, total, what) as see:
            yield see
    else:
        yield _lines(out, total, what)


def _lines(out: Output, total: int | None, what: str) -> ShowProgress:
    tenth, last = 0, time.monotonic()

    def see(done: int, more: Sequence[str], note: str) -> None:
        nonlocal tenth, last
        now, part = time.monotonic(), 10 * done // total if total else 0
        if note:
            out.note(note)
        if now >= last + (TENTH_INTERVAL if part > tenth else LINE_INTERVAL):
            tenth, last = part, now
            out.note(" · ".join([f"{_done_of_total(done, total)} {what}", *more]))

    return see


@contextmanager
def _bar(out: Output, total: int | None, what: str) -> Iterator[ShowProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
    from rich.text import Text

    text = TextColumn("{task.description}", markup=False, table_column=_one_line_column())
    columns: list[ProgressColumn] = [SpinnerColumn(), text]
    if total is not None and window_size(out.stderr).columns >= MIN_BAR_COLUMNS:
        columns.append(BarColumn())
    console = Console(file=out.stderr)
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False, refresh_per_second=4
    ) as bars:
        task = bars.add_task(_fit_text(0, total, what, (), window_size(out.stderr).columns - 2), total=total)

        def see(done: int, more: Sequence[str], note: str) -> None:
            if note:
                console.print(Text(visible(note)))
            bars.update(
                task,
                completed=done,
                description=_fit_text(done, total, what, more, window_size(out.stderr).columns - 2),
            )

        yield see


def _fit_text(done: int, total: int | None, what: str, more: Sequence[str], columns: int) -> str:
    """As much as there is room for."""
    long = [f"{_done_of_total(done, total)} {what}", *more]
    short = [_done_of_total(done, total).replace(" of ", "/"), *more]
    texts = [" · ".join(long), *(" · ".join(short[:count]) for count in range(len(short), 0, -1))]
    return next((text for text in texts if len(text) <= columns), f"{texts[-1][: columns - 1]}…")


def _one_line_column() -> "Column":
    from rich.table import Column

    return Column(no_wrap=True, overflow="ellipsis")


def _done_of_total(done: int, total: int | None) -> str:
    return f"{done:,}" if total is None else f"{done:,} of {total:,}"
