"""The texts about an engine that loads in the background."""

import threading
from collections.abc import Callable

import pytest

from pixtral_cli.chat.engine import Engine
from pixtral_cli.terminal.repl.backend import Backend, LoadCancelled, LoadProgress, ModelOpener
from tests.fakes import FakeEngine


def test_it_is_shown_how_far_another_process_has_loaded_the_model() -> None:
    far, heard, go_on = LoadProgress(), threading.Event(), threading.Event()

    def open_elsewhere() -> Engine:
        far.update(40, "")
        heard.set()
        assert go_on.wait(120)
        return FakeEngine()

    backend = Backend(ModelOpener("m", open_elsewhere, far=far))
    assert backend.doing == "loading m"
    backend.start()
    assert heard.wait(120)
    assert backend.doing == "loading m 40%"
    far.update(60, "vLLM compiles")
    assert backend.doing == "vLLM compiles"
    go_on.set()
    backend.engine()
    assert backend.doing == ""


def test_it_is_shown_how_far_an_engine_here_has_loaded() -> None:
    class Loading(FakeEngine):
        loaded = 0.0

        loaded, doing = 0.0, ""

        def load(self, check: Callable[[], None]) -> None:
            self.loaded = 0.251
            told.append(backend.doing)

    told: list[str] = []
    backend = Backend(ModelOpener("m", Loading))
    backend.engine()
    assert told == ["loading m 25%"]


def test_one_that_is_closed_while_it_loads_goes_before_the_next_is_opened() -> None:
    told: list[str] = []
    loading = threading.Event()

    class Loading(FakeEngine):
        loaded, doing = 0.0, ""

        def load(self, check: Callable[[], None]) -> None:
            loading.set()
            for _ in range(3000):
                check()
                threading.Event().wait(0.01)

        def close(self) -> None:
            told.append("closed")

    def open_next() -> Engine:
        told.append("opened")
        return FakeEngine()

    first = Backend(ModelOpener("first", Loading))
    first.start()
    assert loading.wait(120)
    first.close()
    hurried = Backend(ModelOpener("hurried", open_next), after=first)
    hurried.start()
    hurried.close()
    Backend(ModelOpener("next", open_next), after=hurried).engine()
    assert told[0] == "closed"
    assert told[-1] == "opened"
    with pytest.raises(LoadCancelled, match="first is no longer needed"):
        first.engine()
