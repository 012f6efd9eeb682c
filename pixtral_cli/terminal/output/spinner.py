"""A spinner on stderr until an answer begins."""

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import ClassVar

from pixtral_cli.terminal.output.output import Output
from pixtral_cli.terminal.output.progress_line import LiveLine
from pixtral_cli.util.sanitize import visible

SHOW_AFTER = 0.3  # seconds before it appears
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Spinner:
    """A context that shows a spinner until `stop` is called; nothing unless `Output.spinner`."""

    _drawing: "ClassVar[Spinner | None]" = None

    def __init__(self, out: Output) -> None:
        self._out = out
        self._live = LiveLine(out.stderr)
        self._lock = threading.Lock()  # held while the line is drawn or must not be
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._draw_until_stopped, name="pixtral-spinner", daemon=True)

    def __enter__(self) -> "Spinner":
        if self._out.spinner:
            Spinner._drawing = self
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Remove the spinner and wait until its thread has ended."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        if Spinner._drawing is self:
            Spinner._drawing = None

    @staticmethod
    @contextlib.contextmanager
    def hidden() -> Iterator[None]:
        """Take the spinner that is drawn off the screen meanwhile, for lines and questions that come in between."""
        drawing = Spinner._drawing
        if drawing is None:
            yield
            return
        with drawing._lock:
            drawing._live.clear()
            yield

    def _draw_until_stopped(self) -> None:
        begin = time.monotonic()
        frames = itertools.cycle(FRAMES if self._out.stderr.encoding.lower() == "utf-8" else "-\\|/")
        label = f"{visible(self._out.model)} is at work" if self._out.model else "at work"
        with contextlib.suppress(OSError):  # the terminal may be gone
            if self._stopped.wait(SHOW_AFTER):
                return
            while not self._stopped.wait(0.1):
                line = f"{next(frames)} {visible(self._out.doing()) or label}, {time.monotonic() - begin:.0f} s"
                with self._lock:
                    self._live.draw(line)
            self._live.clear()
