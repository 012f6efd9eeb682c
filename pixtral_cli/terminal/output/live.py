"""Shows an answer on a terminal while it is written. What is finished goes into the scrollback once and is never touched again.

Only the unfinished tail is drawn over, from its first changed line on, in one write. A thread draws at most 20 times a
second, so neither a fast engine nor a stalled one leaves the screen behind; it ends with the answer.
"""

import contextlib
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from rich.cells import cell_len, chop_cells
from rich.text import Text

from pixtral_cli.errors import PixtralError
from pixtral_cli.terminal.output.markdown.blocks import Block, close_open_marks, split
from pixtral_cli.terminal.output.markdown.renderer import block_renderer
from pixtral_cli.terminal.output.output import ThinkingMode, window_size
from pixtral_cli.terminal.output.thinking import ThinkingBlock

BEGIN_FRAME, END_FRAME = "\x1b[?2026h", "\x1b[?2026l"  # a frame: terminals that know it show all of it at once
FRAME_INTERVAL = 0.05
POLL_INTERVAL = 0.1  # seconds between two looks at the footer while no text comes


class LiveAnswer:
    """A context in which `feed` shows more of one answer and `think` of what is thought before. Texts must be sanitised.

    Without `markdown` it is shown as it was written.
    """

    def __init__(
        self,
        stdout: TextIO,
        write: Callable[[str], None],
        footer: Callable[[int], list[str]] | None = None,
        thinking: ThinkingMode = "fold",
        theme: tuple[tuple[str, str], ...] = (),
        *,
        markdown: bool = True,
    ) -> None:
        stream = MarkdownStream if markdown else TextStream
        self._page = stream(LinePainter(write, lambda: window_size(stdout)), footer, thinking, theme)
        self._poll = POLL_INTERVAL if footer else None
        self._inbox: deque[tuple[Callable[[str], None], str]] = deque()
        self._news = threading.Event()
        self._over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._draw, name="pixtral-live", daemon=True)

    def __enter__(self) -> "LiveAnswer":
        self._thread.start()
        return self

    def feed(self, text: str) -> None:
        """More text. Raises what drawing raised, such as BrokenPipeError."""
        self._put(self._page.show, text)

    def think(self, text: str) -> None:
        """More thinking. Raises as `feed` does."""
        self._put(self._page.think, text)

    def _put(self, show: Callable[[str], None], text: str) -> None:
        if self._failure:
            raise self._failure
        self._inbox.append((show, text))
        self._news.set()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._news.set()
        self._thread.join()
        with contextlib.suppress(*([OSError, PixtralError] if error else [])):  # the first error is the one to tell
            if self._failure:
                raise self._failure
            self._show_arrived()
            self._page.finish("")

    def _draw(self) -> None:
        try:
            while not self._over.is_set():
                self._news.wait(self._poll)
                self._news.clear()
                begin = time.perf_counter()
                self._show_arrived()
                self._over.wait(max(FRAME_INTERVAL, 4 * (time.perf_counter() - begin)))
        except BaseException as failure:  # raised again where the thread is fed
            self._failure = failure

    def _show_arrived(self) -> None:
        """Draw what has come since the last time; with nothing new, what changes by itself."""
        pieces = [self._inbox.popleft() for _ in range(len(self._inbox))] or [(self._page.show, "")]
        for show, run in itertools.groupby(pieces, lambda piece: piece[0]):
            show("".join(text for _, text in run))


class MarkdownStream:
    """The answer so far: what of it is finished, and how the rest looks for now."""

    def __init__(
        self,
        painter: "LinePainter",
        footer: Callable[[int], list[str]] | None = None,
        thinking: ThinkingMode = "fold",
        theme: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self._painter = painter
        self._theme = theme
        self._footer = footer
        self._mode = thinking
        self._thoughts: ThinkingBlock | None = None  # while the model thinks
        self._text = ""  # from the first unfinished block on
        self._apart = False  # that block follows a blank line
        self._done = 0  # lines of its source that are finished: it is a fence that goes on

    def think(self, more: str) -> None:
        """More of what the model thinks, below the text before it, which is finished."""
        finished: list[str] = []
        if self._thoughts is None:
            finished = self._finish_text()
            self._text, self._thoughts = "", ThinkingBlock(self._mode)
        self._thoughts.add(more)
        columns = self._painter.columns
        self._paint([*finished, *self._thoughts.lines(columns)], self._thoughts.live(columns))

    def show(self, more: str) -> None:
        """Finish what cannot change any more, draw the rest."""
        if self._thoughts and not more.strip():
            return self.think("")
        self._text += more.lstrip("\n") if self._thoughts else more
        return self._show_text(self._finish_thoughts())

    def _show_text(self, finished: list[str]) -> None:
        """Draw the text, below lines that are finished."""
        whole = split(self._text[: self._text.rfind("\n") + 1])
        finished += self._finish(whole[:-1])
        if whole:
            self._text = self._text[whole[-1].start :]
            self._apart = self._apart or whole[-1].gap
            if whole[-1].open and whole[-1].code.strip():  # an empty fence is shown as typed
                finished += self._lines(whole[-1], first=True)
                self._done = whole[-1].source.count("\n")
        tail = split(close_open_marks(self._text))
        live = [line for place, block in enumerate(tail) for line in self._lines(block, first=place == 0)]
        self._paint(finished, live)

    def _paint(self, finished: list[str], live: list[str]) -> None:
        self._painter.paint(finished, live + (self._footer(self._painter.columns) if self._footer else []))

    def _finish_thoughts(self) -> list[str]:
        thoughts, self._thoughts = self._thoughts, None
        return thoughts.finish(self._painter.columns) if thoughts else []

    def finish(self, more: str) -> None:
        """Everything is finished, and the cursor on a line of its own."""
        self._text += more
        self._painter.paint([*self._finish_thoughts(), *self._finish_text()], [])

    def _finish_text(self) -> list[str]:
        """The lines of all text that is not finished yet."""
        return self._finish(split(self._text))

    def _finish(self, blocks: list[Block]) -> list[str]:
        lines: list[str] = []
        for block in blocks:
            lines += self._lines(block, first=True)
            self._apart, self._done = False, 0
        return lines

    def _lines(self, block: Block, *, first: bool) -> list[str]:
        """A block's lines, after a blank one if `_apart`; of the first block those that are not finished yet."""
        done = self._done if first else 0
        apart = (block.gap or (first and self._apart)) and not done
        return [""] * apart + block_renderer(self._painter.columns - 1, self._theme).lines(block, done)


class TextStream(MarkdownStream):
    """An answer as it is written. A line is finished at its end, and wrapped by the terminal alone."""

    def _show_text(self, finished: list[str]) -> None:
        *whole, self._text = self._text.split("\n")
        live = chop_cells(self._text.expandtabs(), max(self._painter.columns - 1, 1)) if self._text else []
        self._paint([*finished, *whole], live)

    def _finish_text(self) -> list[str]:
        return self._text.split("\n") if self._text else []


class LinePainter:
    """Lines on a terminal: finished ones scroll away, the live ones below them are replaced. The cursor ends the last one."""

    def __init__(self, write: Callable[[str], None], size: Callable[[], os.terminal_size]) -> None:
        self._write = write
        self._size = size
        self._live: list[str] = []
        self._width = size().columns

    @property
    def columns(self) -> int:
        return self._size().columns

    def paint(self, finished: list[str], live: list[str]) -> None:
        """Put `finished` where the live lines stood and `live` below, of which as many are shown as the window holds."""
        columns, rows = self._size()
        live = live[-max(rows - 1, 1) :]
        lines = [*finished, *live]
        same = self._common(lines) if columns == self._width else 0
        if not live:  # the last time: the terminal may have written ^C behind the last line
            same = min(same, max(len(self._live) - 1, 0))
        end = "\n" if lines and not live else ""
        if same == len(self._live) == len(lines):
            frame = end
        elif same == len(self._live):
            frame = ("\n" if same else "") + "\n".join(lines[same:]) + end
        else:
            same = min(same, max(len(lines) - 1, 0))
            drawn = "\n".join(_to_the_edge(line, columns) for line in lines[same:])
            frame = f"{self._back_to(same, columns, rows)}{drawn}{end}\x1b[J"
        self._live, self._width = live, columns
        if frame:
            self._write(BEGIN_FRAME + frame + END_FRAME)

    def _common(self, lines: list[str]) -> int:
        pairs = zip(self._live, lines, strict=False)
        return next((place for place, (old, new) in enumerate(pairs) if old != new), min(len(self._live), len(lines)))

    def _back_to(self, line: int, columns: int, rows: int) -> str:
        """Move the cursor to the start of a live line. A narrower window has wrapped the lines it was too narrow for."""
        heights = [max(1, -(-cell_len(Text.from_ansi(text).plain) // columns)) for text in self._live[line:]]
        up = min(sum(heights) - 1, rows - 1)
        return f"\r\x1b[{up}A" if up > 0 else "\r"


def _to_the_edge(line: str, columns: int) -> str:
    """A line and what erases the rest of its row; behind a full row that would erase the last character."""
    plain = Text.from_ansi(line).plain if "\x1b" in line else line
    *_, last = chop_cells(plain.expandtabs(), columns) or [""]
    return line if cell_len(last) == columns else f"{line}\x1b[K"
