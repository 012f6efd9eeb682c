"""The engine's process behind a server: started, watched, and started anew when it dies. Serves nothing itself."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from pixtral_cli.engines.resident import STOP_TIMEOUT, WorkerProcess
from pixtral_cli.errors import PixtralError
from pixtral_cli.util.sanitize import visible

log = logging.getLogger("pixtral.server")

CHECK_INTERVAL = 5.0  # seconds between two looks at whether it answers
MIN_RESTART_DELAY = 0.5
MAX_RESTART_DELAY = 30.0


class WorkerSupervisor:
    """Keeps one process running, from a thread. `error` is what the very first start failed with.

    `answers` is asked every so many seconds: a process that hangs is no better than one that is dead.
    """

    def __init__(
        self,
        spawn: Callable[[], WorkerProcess],
        answers: Callable[[], bool] = lambda: True,
        every: float = CHECK_INTERVAL,
    ) -> None:
        self.ready: dict[str, Any] | None = None  # what the process said, while it answers
        self.error: PixtralError | None = None
        self.deaths = 0
        self._spawn = spawn
        self._answers = answers
        self._every = every
        self._process: WorkerProcess | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="child")

    @property
    def alive(self) -> bool:
        return self.ready is not None

    @property
    def window(self) -> int | None:
        """The model's context window, while the process answers."""
        return self.ready["window"] if self.ready else None

    @property
    def loaded(self) -> int:
        """Percent of the weights that the process has read."""
        return self._process.loaded if self._process else 0

    @property
    def doing(self) -> str:
        """What its engine does before it can answer, where it tells."""
        return self._process.doing if self._process else ""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the process. What it computes for others it may finish; one that is still loading is killed."""
        with self._lock:
            self._stopping.set()
        if self._process:
            self._process.end(STOP_TIMEOUT if self.alive else 0)
        self._thread.join()

    def _begin(self) -> WorkerProcess | None:
        with self._lock:
            self._process = None if self._stopping.is_set() else self._spawn()
            return self._process

    def _watch(self) -> None:
        pause = MIN_RESTART_DELAY
        started = False
        while process := self._begin():
            try:
                self.ready = process.ready()
                started, pause = True, MIN_RESTART_DELAY
                status = self._follow(process, self.ready)
                self.ready = None
                if not self._stopping.is_set():
                    self.deaths += 1
                    log.error("The engine died (%s); starting it anew.", _exit_text(status))
            except PixtralError as error:
                if self._stopping.is_set():
                    return
                if not started:
                    self.error = error
                    return
                log.error("The engine does not start: %s", visible(error.message))
                pause = min(2 * pause, MAX_RESTART_DELAY)
            self._stopping.wait(pause)

    def _follow(self, process: WorkerProcess, said: dict[str, Any]) -> int:
        """Watch a process until it has ended; its status."""
        while (status := process.wait(self._every)) is None:
            now = said if self._answers() else None
            if self.ready and not now and not self._stopping.is_set():
                log.error("The engine does not answer.")
            self.ready = now
        return status


def _exit_text(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"
