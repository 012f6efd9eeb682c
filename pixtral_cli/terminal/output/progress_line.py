"""A line of text that is redrawn in place, for jobs that format their progress themselves."""

import time
from typing import TextIO

from pixtral_cli.terminal.output.output import window_size

LINE_INTERVAL = 30.0  # seconds between two lines, if nothing can be redrawn
REDRAW_INTERVAL = 0.1  # seconds


class LiveLine:
    """One line of a terminal that is redrawn in place."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def draw(self, text: str) -> None:
        self._write(f"\r{text[: window_size(self._stream).columns - 1]}\x1b[K")

    def clear(self) -> None:
        self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class ProgressLine:
    """Shows one text after another in one line, or at intervals on lines of their own if nothing can be redrawn."""

    def __init__(self, stream: TextIO, *, quiet: bool = False, plain: bool = False) -> None:
        self._stream = stream
        self._quiet = quiet
        self._line = LiveLine(stream) if stream.isatty() and not plain else None
        self._last = ""
        self._written = ""
        self._next = 0.0

    def show(self, text: str) -> None:
        """Replace the text; drawn at most every REDRAW_INTERVAL."""
        self._last = text
        if not self._quiet and time.monotonic() >= self._next:
            self._write(text)

    def end(self) -> None:
        """Show the last text and end the line."""
        if self._last and not self._quiet:
            if self._last != self._written:
                self._write(self._last)
            if self._line:
                self._stream.write("\n")
        self._stream.flush()

    def clear(self) -> None:
        """Remove the line if it can be redrawn."""
        if self._last and not self._quiet and self._line:
            self._line.clear()
        self._last = ""

    def _write(self, text: str) -> None:
        self._written = text
        self._next = time.monotonic() + (REDRAW_INTERVAL if self._line else LINE_INTERVAL)
        if self._line:
            self._line.draw(text)
        else:
            self._stream.write(f"{text}\n")
            self._stream.flush()
