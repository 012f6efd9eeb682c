"""What a hint says to install is what the extra is declared to need, for the Python that runs."""

import sys
import tomllib
from pathlib import Path

import pytest

from pixtral_cli.extras import EXTRAS, install_command

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_the_extras_are_those_that_are_declared() -> None:
    declared = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {name: tuple(each.partition(";")[0].strip() for each in packages) for name, packages in declared.items()}
    assert named == EXTRAS


def test_what_is_installed_already_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: {"starlette": "1.2", "uvicorn": "0.1"}[name])
    assert install_command("serve").endswith("pip install 'uvicorn>=0.50'")


def test_the_command_is_of_this_python_and_quoted_for_a_shell() -> None:
    assert install_command("pdf").startswith(f"{sys.executable} -m pip install ")
    assert install_command("mcp").endswith("'mcp>=2.3,<3' 'starlette>=1' 'uvicorn>=0.50'")
