"""One line on stderr that tells how far a long job is: redrawn on a terminal, now and then a new one elsewhere."""

import shutil
import time
from typing import TextIO

LINE_INTERVAL = 30.0  # between two lines where nothing can be redrawn
REDRAW_INTERVAL = 0.1


class ProgressLine:
    """Shows texts one after another; `end` leaves the last one standing, `clear` does not."""

    def __init__(self, stream: TextIO, *, quiet: bool = False, plain: bool = False) -> None:
        self._stream = stream
        self._quiet = quiet
        self._live = stream.isatty() and not plain
        self._last = ""
        self._written = ""
        self._next = 0.0

    def show(self, text: str) -> None:
        self._last = text
        if not self._quiet and time.monotonic() >= self._next:
            self._write(text)

    def end(self) -> None:
        if self._last and not self._quiet:
            if self._last != self._written:
                self._write(self._last)
            if self._live:
                self._stream.write("\n")
        self._stream.flush()

    def clear(self) -> None:
        """Take the line away where that can be done."""
        if self._last and not self._quiet and self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        self._last = ""

    def _write(self, text: str) -> None:
        self._written = text
        self._next = time.monotonic() + (REDRAW_INTERVAL if self._live else LINE_INTERVAL)
        if self._live:
            self._stream.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()
