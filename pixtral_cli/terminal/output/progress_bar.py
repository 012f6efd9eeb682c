"""How far a long job is, on stderr: a bar on a terminal that draws, now and then a line elsewhere. Knows no job."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from pixtral_cli.terminal.output.output import Output, size
from pixtral_cli.util.sanitize import visible

if TYPE_CHECKING:
    from rich.table import Column

EVERY = 60.0  # seconds after which there is a line where nothing can be redrawn
TENTHS = 5.0  # seconds after which there may be one at a tenth of the way
NARROW = 60  # columns below which there is no room for a bar

# How many are done; what else there is to say, the most important first; a note to stay on the screen.
View: TypeAlias = Callable[[int, Sequence[str], str], None]


@contextmanager
def watched(out: Output, total: int | None, what: str) -> Iterator[View]:
    """A function that shows how many of `total` there are. Nothing but notes is left on a terminal at the end."""
    if out.quiet:
        yield lambda done, more, note: None
    elif out.spinner:
        with _bar(out, total, what) as see:
            yield see
    else:
        yield _lines(out, total, what)


def _lines(out: Output, total: int | None, what: str) -> View:
    tenth, last = 0, time.monotonic()

    def see(done: int, more: Sequence[str], note: str) -> None:
        nonlocal tenth, last
        now, part = time.monotonic(), 10 * done // total if total else 0
        if note:
            out.note(note)
        if now >= last + (TENTHS if part > tenth else EVERY):
            tenth, last = part, now
            out.note(" · ".join([f"{_counted(done, total)} {what}", *more]))

    return see


@contextmanager
def _bar(out: Output, total: int | None, what: str) -> Iterator[View]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
    from rich.text import Text

    text = TextColumn("{task.description}", markup=False, table_column=_whole())
    columns: list[ProgressColumn] = [SpinnerColumn(), text]
    if total is not None and size(out.stderr).columns >= NARROW:
        columns.append(BarColumn())
    console = Console(file=out.stderr)
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False, refresh_per_second=4
    ) as bars:
        task = bars.add_task(_fitting(0, total, what, (), size(out.stderr).columns - 2), total=total)

        def see(done: int, more: Sequence[str], note: str) -> None:
            if note:
                console.print(Text(visible(note)))
            bars.update(
                task, completed=done, description=_fitting(done, total, what, more, size(out.stderr).columns - 2)
            )

        yield see


def _fitting(done: int, total: int | None, what: str, more: Sequence[str], columns: int) -> str:
    """As much as there is room for."""
    long = [f"{_counted(done, total)} {what}", *more]
    short = [_counted(done, total).replace(" of ", "/"), *more]
    texts = [" · ".join(long), *(" · ".join(short[:count]) for count in range(len(short), 0, -1))]
    return next((text for text in texts if len(text) <= columns), f"{texts[-1][: columns - 1]}…")


def _whole() -> "Column":
    from rich.table import Column

    return Column(no_wrap=True, overflow="ellipsis")


def _counted(done: int, total: int | None) -> str:
    return f"{done:,}" if total is None else f"{done:,} of {total:,}"
