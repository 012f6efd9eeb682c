"""A server over an engine with queued answers, and one over the demo model, for the clients of each API."""

from collections.abc import Iterator

import pytest

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.models.names import demo_folder
from tests.fakes import FakeEngine
from tests.server.processes import ROOT
from tests.server.serving import Running, data_url, serving

SHAPES = "A red circle, a blue star and a green triangle."
TALLEST = "The green bar."


def example(name: str) -> bytes:
    """The bytes of a picture in examples/."""
    return (ROOT / "examples" / name).read_bytes()


def example_url(name: str) -> str:
    return data_url(example(name))


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def running(engine: FakeEngine) -> Iterator[Running]:
    with serving(engine, window=lambda: 1000) as running:
        yield running


@pytest.fixture(scope="session")
def demo() -> Iterator[Running]:
    """The demo model, greedy."""
    engine = LocalEngine(demo_folder(), name="demo")
    with serving(engine, model="demo", defaults=Sampling(0.0), window=lambda: 4096) as running:
        yield running
    engine.close()
