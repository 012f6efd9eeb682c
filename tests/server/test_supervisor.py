"""The engine's process as its keeper sees it: hanging and answering again."""

import logging
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.engines.resident import WorkerProcess
from pixtral_cli.errors import ModelError, PixtralError
from pixtral_cli.server.supervisor import WorkerSupervisor
from tests.server.processes import until


class Running(WorkerProcess):
    """A process that has loaded and runs until it is ended."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def wait_until_loaded(self, log: Path | None = None) -> dict[str, Any]:
        return {"window": 5}

    def wait(self, seconds: float) -> int | None:
        return 0 if self.ended.wait(seconds) else None

    def end(self, seconds: float = 0) -> None:
        self.ended.set()


def test_a_process_that_hangs_counts_as_dead_until_it_answers_again(caplog: pytest.LogCaptureFixture) -> None:
    said: queue.Queue[bool] = queue.Queue()
    child = WorkerSupervisor(Running, said.get, interval=0.01)
    child.start()
    try:
        for answers in (True, False, False, True):
            said.put(answers)
            until(_settled(said, child, answers))
            assert child.window == (5 if answers else None)
    finally:
        said.put(True)
        child.stop()
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "The engine does not answer."
    ]
    assert child.deaths == 0


def _settled(said: "queue.Queue[bool]", child: WorkerSupervisor, alive: bool) -> Callable[[], bool]:
    return lambda: said.empty() and child.alive is alive


class Starting(Running):
    """A process that fails to load, or loads and ends with a status."""

    def __init__(self, outcome: PixtralError | int) -> None:
        super().__init__()
        self.outcome = outcome

    def wait_until_loaded(self, log: Path | None = None) -> dict[str, Any]:
        if isinstance(self.outcome, PixtralError):
            raise self.outcome
        return {"window": 5}

    def wait(self, seconds: float) -> int | None:
        return self.outcome if isinstance(self.outcome, int) else None


class NoWaiting(threading.Event):
    """Records the delays and waits for none of them; set after the last."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.delays = count, []  # type: ignore[var-annotated]

    def wait(self, timeout: float | None = None) -> bool:
        self.delays.append(timeout)
        if len(self.delays) == self.count:
            self.set()
        return self.is_set()


def supervised(*outcomes: PixtralError | int) -> tuple[WorkerSupervisor, list[float]]:
    """A supervisor after these starts, and the seconds that it waited after each."""
    starts = iter(outcomes)
    supervisor = WorkerSupervisor(lambda: Starting(next(starts)))
    waiting = NoWaiting(len(outcomes))
    supervisor._stopping = waiting
    supervisor.start()
    supervisor._thread.join(120)
    return supervisor, waiting.delays


def test_a_first_start_that_fails_is_not_tried_again() -> None:
    supervisor, delays = supervised(ModelError("damaged"))
    assert supervisor.error and supervisor.error.message == "damaged"
    assert (delays, supervisor.deaths, supervisor.alive, supervisor.window) == ([], 0, False, None)


def test_a_process_that_ends_is_started_again_and_later_and_later_while_it_does_not_start(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = [ModelError("no memory")] * 8
    supervisor, delays = supervised(-9, 1, *failures, 3, ModelError("no memory"), 0)
    assert delays == [0.5, 0.5, 1, 2, 4, 8, 16, 30, 30, 30, 0.5, 1, 0.5]
    assert supervisor.error is None
    assert supervisor.deaths == 4
    assert [record.message for record in caplog.records][:3] == [
        "The engine ended (signal 9); it is started again.",
        "The engine ended (status 1); it is started again.",
        "The engine does not start: no memory",
    ]
