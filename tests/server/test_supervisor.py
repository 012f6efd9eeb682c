"""The engine's process as its keeper sees it: hanging and answering again."""

import logging
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.engines.resident import WorkerProcess
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
