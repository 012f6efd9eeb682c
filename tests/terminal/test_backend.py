"""What is told of an engine that gets ready in the background, whoever loads it."""

import threading

from pixtral_cli.chat.engine import Engine
from pixtral_cli.terminal.backend import Backend, Far, Opening
from tests.fakes import FakeEngine


def test_it_is_told_how_far_another_process_has_loaded_the_model() -> None:
    far, heard, go_on = Far(), threading.Event(), threading.Event()

    def open_elsewhere() -> Engine:
        far.hear(40, "")
        heard.set()
        assert go_on.wait(30)
        return FakeEngine()

    backend = Backend(Opening("m", open_elsewhere, far=far))
    assert backend.doing == "loading m"
    backend.start()
    assert heard.wait(30)
    assert backend.doing == "loading m 40%"
    far.hear(60, "vLLM compiles")
    assert backend.doing == "vLLM compiles"
    go_on.set()
    backend.engine()
    assert backend.doing == ""


def test_it_is_told_how_far_an_engine_here_has_loaded() -> None:
    class Loading(FakeEngine):
        loaded = 0.0

        def load(self) -> None:
            self.loaded = 0.251
            told.append(backend.doing)

    told: list[str] = []
    backend = Backend(Opening("m", Loading))
    backend.engine()
    assert told == ["loading m 25%"]
