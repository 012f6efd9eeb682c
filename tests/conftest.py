"""Every test lives in a home of its own: no test reads or writes the user's config, sessions or models."""

from pathlib import Path

import pytest


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
