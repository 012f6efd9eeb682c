"""A spinner on stderr while an answer has not begun: drawn after `SHOW_AFTER` seconds, then removed."""

import contextlib
import itertools
import threading
import time
from types import TracebackType

from pixtral_cli.terminal.output.output import Output
from pixtral_cli.terminal.output.progress_line import LiveLine
from pixtral_cli.util.sanitize import visible

SHOW_AFTER = 0.3  # seconds
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Spinner:
    """A context with a spinner until `stop`; nothing where stderr is not a terminal that draws."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._draw_until_stopped, name="pixtral-spinner", daemon=True)

    def __enter__(self) -> "Spinner":
        if self._out.spinner:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Remove it. Returns when its thread has ended."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _draw_until_stopped(self) -> None:
        begin, live = time.monotonic(), LiveLine(self._out.stderr)
        frames = itertools.cycle(FRAMES if self._out.stderr.encoding.lower() == "utf-8" else "-\\|/")
        label = f"{visible(self._out.model)} is at work" if self._out.model else "at work"
        with contextlib.suppress(OSError):  # the terminal may be gone
            if self._stopped.wait(SHOW_AFTER):
                return
            while not self._stopped.wait(0.1):
                line = f"{next(frames)} {visible(self._out.doing()) or label}, {time.monotonic() - begin:.0f} s"
                live.draw(line)
            live.clear()
