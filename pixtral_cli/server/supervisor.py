"""Starts the worker process of a server, checks that it responds, and restarts it when it has ended."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from pixtral_cli.engines.resident import STOP_TIMEOUT, WorkerProcess
from pixtral_cli.errors import PixtralError
from pixtral_cli.util.sanitize import visible

log = logging.getLogger("pixtral.server")

CHECK_INTERVAL = 1.0  # seconds between two checks whether the worker responds
MIN_RESTART_DELAY = 0.5
MAX_RESTART_DELAY = 30.0


class WorkerSupervisor:
    """Keeps one worker running, from a thread of its own. `error` is the error of the first start, if that failed.

    `is_responding` is called every `interval` seconds; while it returns False the worker counts as down.
    """

    def __init__(
        self,
        spawn: Callable[[], WorkerProcess],
        is_responding: Callable[[], bool] = lambda: True,
        interval: float = CHECK_INTERVAL,
    ) -> None:
        self.report: dict[str, Any] | None = None  # the worker's report after loading; None while it is down
        self.error: PixtralError | None = None
        self.deaths = 0
        self._spawn = spawn
        self._is_responding = is_responding
        self._interval = interval
        self._process: WorkerProcess | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="supervisor")

    @property
    def alive(self) -> bool:
        """Whether the worker is loaded and responds."""
        return self.report is not None

    @property
    def window(self) -> int | None:
        """The model's context window in tokens; None while the worker is down."""
        return self.report["window"] if self.report else None

    @property
    def loaded(self) -> int:
        """The percentage of the weights that the worker has read."""
        return self._process.loaded if self._process else 0

    @property
    def doing(self) -> str:
        """See `LoadableEngine.doing`."""
        return self._process.doing if self._process else ""

    def start(self) -> None:
        """Start the supervising thread, which starts the worker."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the worker after its running answers, or at once while it is loading; wait until it has ended."""
        with self._lock:
            self._stopping.set()
        if self._process:
            self._process.end(STOP_TIMEOUT if self.alive else 0)
        self._thread.join()

    def _start_worker(self) -> WorkerProcess | None:
        with self._lock:
            self._process = None if self._stopping.is_set() else self._spawn()
            return self._process

    def _watch(self) -> None:
        delay = MIN_RESTART_DELAY
        started = False
        while process := self._start_worker():
            try:
                self.report = process.wait_until_loaded()
                started, delay = True, MIN_RESTART_DELAY
                status = self._check_until_exit(process, self.report)
                self.report = None
                if not self._stopping.is_set():
                    self.deaths += 1
                    log.error("The engine ended (%s); it is started again.", _exit_text(status))
            except PixtralError as error:
                if self._stopping.is_set():
                    return
                if not started:
                    self.error = error
                    return
                log.error("The engine does not start: %s", visible(error.message))
                delay = min(2 * delay, MAX_RESTART_DELAY)
            self._stopping.wait(delay)

    def _check_until_exit(self, process: WorkerProcess, report: dict[str, Any]) -> int:
        """Check repeatedly whether a worker responds, until it has ended; returns its exit status."""
        while (status := process.wait(self._interval)) is None:
            now = report if self._is_responding() else None
            if self.report and not now and not self._stopping.is_set():
                log.error("The engine does not answer.")
            self.report = now
        return status


def _exit_text(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"
