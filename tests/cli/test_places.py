"""Places where nothing can be kept or named: a folder that was removed, a home that cannot be written, none at all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pixtral_cli.command_line import run
from tests.terminal.repl.chatting import ROOT

COMMAND = [sys.executable, "-m", "pixtral_cli"]
SAVED_NOWHERE = "/proc/nowhere"  # nobody can make it, root neither


def pixtral(*words: str, folder: Path, **env: str | None) -> tuple[int, str, str]:
    named = {**os.environ, "PYTHONPATH": str(ROOT), **env}
    environment = {name: value for name, value in named.items() if value is not None}
    command = ["sh", "-c", 'cd "$0" && rmdir "$0" 2> /dev/null; exec "$@"', str(folder), *COMMAND, *words]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False)  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def gone(tmp_path: Path) -> Path:
    (tmp_path / "gone").mkdir()
    return tmp_path / "gone"


def test_from_a_removed_folder_a_question_is_answered_and_that_is_said(gone: Path) -> None:
    status, out, err = pixtral("ask", "Hello", "-m", "demo", folder=gone)
    assert (status, bool(out)) == (0, True), err
    assert err.splitlines() == ["The current folder was removed; relative paths begin at /"]


@pytest.mark.parametrize(
    ("words", "status", "line"),
    [
        (("ask", "What?", "--image", "x.png"), 3, "x.png: no such file or directory. Check the name; the current directory is gone"),
        (("ask", "What?", "-o", "x.txt"), 2, "x.txt cannot be written: the current folder was removed. Go to another one"),
        (("ask", "What?", "-f", "notes.md"), 2, "notes.md cannot be read: No such file or directory. Check the path"),
        (("batch", "rows.jsonl"), 2, "rows.jsonl cannot be read: No such file or directory. Check the name"),
    ],
)  # fmt: skip
def test_from_a_removed_folder_names_are_one_line(gone: Path, words: tuple[str, ...], status: int, line: str) -> None:
    found, out, err = pixtral(*words, "-m", "demo", folder=gone)
    assert (out, err.splitlines()[-1]) == ("", f"pixtral: {line}")
    assert "Traceback" not in err
    assert found == status


def test_from_a_removed_folder_the_machine_can_be_examined(gone: Path) -> None:
    status, out, err = pixtral("doctor", folder=gone)
    assert "device" in out, (status, err)


def test_a_home_that_cannot_be_written_is_said_once_and_answers_come(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").touch()
    home: dict[str, str | None] = {"HOME": SAVED_NOWHERE, "PIXTRAL_HOME": None}
    status, out, err = pixtral("ask", "Hello", "-m", "demo", folder=tmp_path, **home)
    assert (status, bool(out)) == (0, True)
    assert err == f"This conversation is not being saved. No such file or directory: {SAVED_NOWHERE}\n"
    assert pixtral("sessions", folder=tmp_path, **home)[0] == 0
    status, _, err = pixtral("config", "set", "seed", "3", folder=tmp_path, **home)
    assert status == 2
    assert err.startswith(f"pixtral: {SAVED_NOWHERE}")
    assert err.rstrip().endswith("Name another file: PIXTRAL_CONFIG=FILE")


@pytest.mark.parametrize("words", [("ask", "Hello", "-m", "demo", "--no-stdin"), ("sessions",), ("config",), ("ps",)])
def test_a_user_without_a_home_is_told_what_to_set(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in [name for name in os.environ if name in ("HOME", "PIXTRAL_HOME") or name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    assert run(list(words)) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "pixtral: It is not known which home folder is yours. Set HOME, or PIXTRAL_HOME to a folder for all that is kept"
    )
