"""A sign of life on stderr while nothing else is to be seen. Shown after a third of a second, wiped away without a trace."""

import contextlib
import itertools
import threading
import time
from types import TracebackType

from pixtral_cli.terminal.output.output import Output, window_size
from pixtral_cli.util.sanitize import visible

SHOW_AFTER = 0.3
FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Spinner:
    """A context in which a spinner turns until `stop`; nothing at all where stderr is not a terminal that draws."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._turn, name="pixtral-spinner", daemon=True)

    def __enter__(self) -> "Spinner":
        if self._out.spinner:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Wipe it away. Returns when its thread has ended."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _turn(self) -> None:
        begin = time.monotonic()
        frames = itertools.cycle(FRAMES if self._out.stderr.encoding.lower() == "utf-8" else "-\\|/")
        label = f"{visible(self._out.model)} is at work" if self._out.model else "at work"
        with contextlib.suppress(OSError):  # a terminal that has gone needs no sign of life
            if self._over.wait(SHOW_AFTER):
                return
            while not self._over.wait(0.1):
                line = f"{next(frames)} {visible(self._out.doing()) or label}, {time.monotonic() - begin:.0f} s"
                self._write(f"\r{line[: window_size(self._out.stderr).columns - 1]}\x1b[K")
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._out.stderr.write(text)
        self._out.stderr.flush()
