"""A hub that serves the demo checkpoint under the full model's name, beside files that are not needed."""

from collections.abc import Iterator

import pytest

from pixtral_cli.models import names
from pixtral_cli.models.hub import Hub
from tests.hub import FakeHub, model_files

REPO = "mistralai/Pixtral-12B-2409"


@pytest.fixture(scope="session")
def files() -> dict[str, bytes]:
    """The demo checkpoint's files by name."""
    return model_files(names.demo_folder())


@pytest.fixture
def fake(files: dict[str, bytes]) -> Iterator[FakeHub]:
    others = {"README.md": b"# A model\n", "config.json": b"{}", "model-00001-of-00002.safetensors": b"\1" * 200_000}
    with FakeHub({REPO: {"main": {**others, **files}}}) as hub:
        yield hub


@pytest.fixture
def hub(fake: FakeHub) -> Hub:
    """That hub as `pull` takes it, with the cache of this test's home."""
    return Hub(names.hub_cache(), fake.url, timeout=5)
