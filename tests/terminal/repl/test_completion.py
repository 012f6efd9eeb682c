"""What Tab offers for commands, their arguments, paths and image numbers."""

from pathlib import Path

import pytest
from PIL import Image as PIL

from pixtral_cli.terminal.repl.commands.table import TABLE
from pixtral_cli.terminal.repl.completion import CompletionSources, complete_path, completes_while_typing, suggest

NAMES = CompletionSources(
    images=lambda: [("1", "cat.png"), ("2", "dog.png")],
    models=lambda: [("demo", ""), ("pixtral-12b", "")],
    sessions=lambda: [("abc123", "about cats"), ("xyz789", "about dogs")],
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Pictures").mkdir()
    for name in ("My cat.png", "mouse.jpg", ".hidden.png", "Pictures/a (1).webp", "report.pdf"):
        PIL.new("RGB", (2, 2)).save(tmp_path / name, "PNG")
    (tmp_path / "notes.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def completed(before: str) -> list[str]:
    """The line after each suggestion."""
    return [before[: len(before) - found.length] + found.text for found in suggest(before, NAMES)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/im", ["/image", "/images"]),
        ("/set te", ["/set temperature"]),
        ("/set preview b", ["/set preview blocks"]),
        ("/set stats ", ["/set stats on", "/set stats off"]),
        ("/set temperature ", []),
        ("/model p", ["/model pixtral-12b"]),
        ("/load ", ["/load abc123", "/load xyz789"]),
        ("/drop ", ["/drop 1", "/drop 2"]),
        ("/shot r", ["/shot region"]),
        ("/help cr", ["/help crop"]),
        ("is it #", ["is it #1", "is it #2"]),
        ("look at @m", ["look at @mouse.jpg", "look at @My\\ cat.png"]),
        ("look at m", ["look at mouse.jpg", "look at My\\ cat.png"]),
        ("@Pictures/", ["@Pictures/a\\ \\(1\\).webp"]),
        ("@p", ["@Pictures/"]),
        ("@.h", ["@.hidden.png"]),
        ("@My\\ c", ["@My\\ cat.png"]),
        ("/image n", []),
        ("/image r", ["/image report.pdf"]),
        ("@no/such/folder/x", []),
        ("hello ", []),
        ("", []),
    ],
)
def test_what_is_offered(before: str, after: list[str]) -> None:
    assert completed(before) == after


def test_every_command_is_offered_with_its_summary() -> None:
    assert [(found.text, found.about) for found in suggest("/", NAMES)] == [(f"/{r.name}", r.summary) for r in TABLE]


def test_an_absolute_path_at_the_start_of_a_line_is_a_path(folder: Path) -> None:
    assert completed(f"{folder}/mo") == [f"{folder}/mouse.jpg"]


def test_a_home_is_kept_as_it_was_typed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert completed("@~/mo") == ["@~/mouse.jpg"]


def test_only_names_are_offered_unasked() -> None:
    assert all(completes_while_typing(text) for text in ("/", "/im", "what is @ca", "@", "is #"))
    assert not any(completes_while_typing(text) for text in ("hello", "/image x", "a/b", ""))


def test_hidden_entries_are_offered_where_their_dot_is_typed_alone(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    (folder / ".hidden").mkdir(parents=True)
    (folder / "seen").mkdir()
    assert [each.text for each in complete_path(f"{folder}/")] == [f"{folder}/seen/"]
    assert [each.text for each in complete_path(f"{folder}/.h")] == [f"{folder}/.hidden/"]
