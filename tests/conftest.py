"""Every test has a home folder of its own: no test reads or writes the user's config, sessions or models."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same cases every time: a run that fails can be repeated. HYPOTHESIS_PROFILE=random looks for new ones.
# How long they take is no matter: the machine may be busy.
UNTIMED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", UNTIMED, derandomize=True)
settings.register_profile("random", UNTIMED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes a core: much of a test is waiting for a program that it has started."""
    return min(2 * (os.cpu_count() or 1), 8)


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("PIXTRAL_HOME", str(folder / "pixtral"))
    monkeypatch.setenv("HF_HOME", str(folder / "huggingface"))
    for name in (
        "HF_TOKEN",
        "HF_ENDPOINT",
        "HF_HUB_CACHE",
        "MISTRAL_API_KEY",
        "PIXTRAL_MODEL",
        "PIXTRAL_DEBUG",
        "NO_COLOR",
    ):
        monkeypatch.delenv(name, raising=False)
    return folder
