"""A user whose folders are all in a temporary one."""

from pathlib import Path

import pytest

from pixtral_cli import config


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"PIXTRAL_HOME": str(tmp_path)}


def write(env: dict[str, str], text: str) -> Path:
    file = config.paths(env).config_file
    file.write_text(text)
    return file
