"""A pseudo-terminal with a screen that can be looked at: what a person would see, scrollback included."""

import fcntl
import os
import struct
import subprocess
import termios
import threading
from types import TracebackType
from typing import Any, TextIO

import pyte


def screen_of(columns: int, rows: int) -> pyte.HistoryScreen:
    return pyte.HistoryScreen(columns, rows, history=10_000, ratio=0.5)


def lines_of(screen: pyte.HistoryScreen) -> list[str]:
    """The lines of scrollback and screen, without the blank ones at the end."""
    scrolled = ["".join(line[column].data for column in range(screen.columns)) for line in screen.history.top]
    lines = [line.rstrip() for line in (*scrolled, *screen.display)]
    while lines and not lines[-1]:
        lines.pop()
    return lines


class Terminal:
    """A context: `out` is the terminal's file, `descriptor` its number; `lines` and `raw` are what arrived there."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.screen = screen_of(columns, rows)
        self._stream = pyte.ByteStream(self.screen)
        self._master, self.descriptor = os.openpty()
        self.resize(columns, rows)
        self.out: TextIO = os.fdopen(self.descriptor, "w", encoding="utf-8")
        self.raw = b""
        self._arrived = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Terminal":
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.out.close()
        self._reader.join(30)
        os.close(self._master)

    @property
    def lines(self) -> list[str]:
        with self._arrived:
            return lines_of(self.screen)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def run(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """A program of which this is the controlling terminal: its stdin, stdout and stderr unless `options` say other."""
        streams = {"stdin": self.descriptor, "stdout": self.descriptor, "stderr": self.descriptor, **options}
        return subprocess.Popen(command, start_new_session=True, preexec_fn=self._take_control, **streams)

    def _take_control(self) -> None:
        fcntl.ioctl(self.descriptor, termios.TIOCSCTTY, 0)

    def changed(self) -> None:
        """Called whenever something has arrived."""

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def wait_for(self, text: str, seconds: float = 240) -> None:
        """Until the screen shows `text`."""
        with self._arrived:
            shown = self._arrived.wait_for(lambda: text in "\n".join(lines_of(self.screen)), seconds)
        assert shown, f"{text!r} did not appear: {self.lines}"

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # the last writer has closed it
                return
            if not data:
                return
            with self._arrived:
                self.raw += data
                self._stream.feed(data)
                self.changed()
                self._arrived.notify_all()
