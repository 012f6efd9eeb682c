"""Flags that exclude each other and commands that cannot be done: one line, what to do, the right exit status."""

import os
from pathlib import Path

import pytest

from pixtral_cli import __version__, config
from pixtral_cli.command_line import run

FAR = "http://127.0.0.1:9/v1"


@pytest.mark.parametrize(
    ("words", "status", "says", "hint"),
    [
        (["ask", "hi", "-c", "--session", "abc"], 2, "--continue is the newest session, --session another", "one of them"),
        (["ask", "hi", "--session", ""], 2, "--session needs an id, and it is empty", "pixtral sessions"),
        (["ask", "hi", "--session", "abc"], 2, "There is no session 'abc'", "pixtral sessions"),
        (["ask", "hi", "-c"], 2, "There is no saved session to continue", "pixtral chat"),
        (["ask", "hi", "--base-url", FAR, "--engine", "local"], 2, "another machine's model, --engine local", "one of them"),
        (["ask", "hi", "--base-url", FAR, "--offline"], 5, "The network is off (--offline)", "Leave --offline out"),
        (["ask", "hi", "--image", "https://example.org/a.png", "--offline"], 5, "the network is off", "Download"),
        (["ask", "hi", "-m", "demo", "--image", "none.png"], 3, "none.png: no such file", "Check the name"),
        (["ask", "hi", "-m", "no/such"], 4, "no/such", "pixtral pull"),
        (["ask", "hi", "--base-url", FAR], 5, "cannot be reached: connection refused", "Is the server running?"),
        (["login", "--mcp", "https://h/mcp", "--base-url", FAR], 2, "--mcp is one server, --base-url another", "one of them"),
        (["login", "--mcp", "ftp://h/mcp"], 2, "--mcp must be the http(s) URL", "https://HOST/mcp"),
        (["login", "--mcp", "https://me@h/mcp"], 2, "--mcp must be the http(s) URL", "https://HOST/mcp"),
        (["login", "--mcp", "http://far.example/mcp"], 2, "not sent unencrypted to far.example", "https://"),
        (["serve", "--engine", "api"], 2, "pixtral serve has no engine 'api'", "local, vllm"),
        (["sessions", "search", " "], 2, "Search for what?", "Give a word"),
        (["batch", "gone.jsonl", "-m", "demo"], 2, "gone.jsonl cannot be read: No such file", "Check the name"),
        (["eval", "no-such-task"], 2, "no-such-task", ""),
        (["config", "set", "temperature", "11"], 2, "temperature must be 0 to 10, not '11'", ""),
        (["sessions", "prune", "--older-than", "6m"], 2, "could be months or minutes", "6months or 6min"),
        (["models", "rm", "demo"], 2, "The demo is part of pixtral", "pixtral models"),
    ],
)  # fmt: skip
def test_each_is_one_line_with_its_exit_status(
    words: list[str], status: int, says: str, hint: str, capsys: pytest.CaptureFixture[str], home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(home)
    extra = ["--no-stdin"] if words[0] == "ask" else []
    assert run([*words, *extra]) == status
    out, err = capsys.readouterr()
    text = " ".join(err.split())
    assert out == ""
    assert says in text
    assert hint in text
    assert "Traceback" not in err


def test_a_long_name_leaves_the_reason_in_sight(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "hi", "--image", f"https://example.org/{'a' * 300}.png", "--offline", "--no-stdin"]) == 5
    error = capsys.readouterr().err
    assert "the network is off" in error
    assert len(error.partition("Download")[0]) < 140


def test_in_a_folder_that_was_removed_it_answers_and_says_where_paths_begin(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run(["ask", "hi", "-m", "demo", "--max-tokens", "1", "--no-stdin", "--no-log", "--keep-alive", "0"]) == 0
    assert f"The current folder was removed; relative paths begin at {os.sep}" in capfd.readouterr().err


def test_version_place_and_completions_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["--version"], f"pixtral {__version__}\n"),
        (["config", "path"], f"{config.config_file()}\n"),
    ):
        assert run(words) == 0
        assert capsys.readouterr().out == said
    for shell in ("bash", "zsh", "fish"):
        assert run(["completion", shell]) == 0
        assert "pixtral" in capsys.readouterr().out
