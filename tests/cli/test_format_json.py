"""`--format json` of the commands that show something: values for a program, and no words for a reader."""

import json
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli import config
from pixtral_cli.command_line import run
from pixtral_cli.sessions.library import Sessions
from tests.fakes import FakeEngine


def written(*words: str, capsys: pytest.CaptureFixture[str]) -> Any:
    assert run([*words, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [("seed", "7", 7), ("temperature", "0.5", 0.5), ("system", "Be brief.", "Be brief."), ("no_log", "true", True)],
)
def test_a_setting_is_its_value(
    home: Path, capsys: pytest.CaptureFixture[str], key: str, text: str, value: Any
) -> None:
    assert written("config", "get", key, capsys=capsys) == {"name": key, "value": None}
    assert run(["config", "set", key, text]) == 0
    assert written("config", "get", key, capsys=capsys) == {"name": key, "value": value}
    assert run(["config", "get", key]) == 0
    assert capsys.readouterr().out == f"{text}\n"


def test_a_template_is_what_it_sets(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = config.paths().config_file.parent / "templates"
    folder.mkdir(parents=True)
    (folder / "brief.toml").write_text('prompt = "Say $input"\ntemperature = 0.0\n')
    file = str(folder / "brief.toml")
    wanted = {"name": "brief", "prompt": "Say $input", "temperature": 0.0, "file": file}
    assert written("templates", "show", "brief", capsys=capsys) == wanted


def test_a_check_of_a_model_lists_its_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "verify", "demo", "-q", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {each["state"] for each in found["files"]} == {"ok"}
    assert all((Path(found["folder"]) / each["file"]).stat().st_size == each["size"] for each in found["files"])


def test_what_is_pruned_is_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sessions = Sessions(config.paths().data)
    for text in ("old", "new"):
        with sessions.start(model="demo") as session:
            list(session.conversation().ask(FakeEngine(["Yes."]), text))
    listed = written("sessions", "prune", "--keep", "1", "--dry-run", capsys=capsys)["sessions"]
    assert [each["title"] for each in listed] == ["old"]
    assert run(["sessions", "prune", "--keep", "1", "--yes", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"sessions": listed}
    assert written("sessions", "prune", "--keep", "1", capsys=capsys) == {"sessions": []}


def test_what_was_stopped_is_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert written("stop", capsys=capsys) == {"stopped": []}
