"""`pixtral templates` as a user meets it."""

import sys
from pathlib import Path

import pytest

from pixtral_cli import config
from pixtral_cli.chat.templates import EXAMPLE
from pixtral_cli.command_line import run


@pytest.fixture
def folder(home: Path) -> Path:
    folder = config.paths().config_file.parent / "templates"
    folder.mkdir(parents=True)
    return folder


def test_the_list_says_what_each_template_asks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "page.toml").write_text('prompt = "Write HTML\\n like this: $input"')
    (folder / "pirate.toml").write_text('system = "Talk like a pirate"')
    (folder / "broken.toml").write_text("prompt = \x1b")
    assert run(["templates"]) == 0
    out, err = capsys.readouterr()
    broken, *others = out.splitlines()
    assert broken.startswith("broken  (The template broken is not valid TOML")
    assert others == ["page    Write HTML like this: $input", "pirate  system prompt: Talk like a pirate"]
    assert "\x1b" not in out + err


def test_without_templates_the_way_to_one_is_reported(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["templates", "list"]) == 0
    assert capsys.readouterr() == ("", "There are no templates yet. Write one: pixtral templates edit NAME\n")


def test_show_prints_the_file_and_path_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "page.txt").write_text("Write $input\n")
    assert (run(["templates", "show", "page"]), capsys.readouterr().out) == (0, "Write $input\n")
    assert (run(["templates", "path"]), capsys.readouterr().out) == (0, f"{folder}\n")
    assert run(["templates", "show", "other"]) == 2
    assert capsys.readouterr().err == "pixtral: There is no template 'other'. There is: page\n"


def editor(monkeypatch: pytest.MonkeyPatch, home: Path, text: str) -> None:
    script = home / "editor.py"
    script.write_text(f"import sys\nopen(sys.argv[1], 'a').write({text!r})\n")
    monkeypatch.setenv("VISUAL", f"{sys.executable} {script}")


@pytest.mark.parametrize("does", ["true", "false"])
def test_an_editor_that_writes_nothing_leaves_no_new_template(
    folder: Path, does: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VISUAL", does)
    (folder / "old.toml").write_text(EXAMPLE)
    assert run(["templates", "edit", "new"]) == (0 if does == "true" else 1)
    assert ("there is no template new" in capsys.readouterr().err) == (does == "true")
    assert run(["templates", "edit", "old"]) == (0 if does == "true" else 1)
    assert [file.name for file in folder.iterdir()] == ["old.toml"]


def test_edit_begins_with_an_example_and_says_what_is_wrong(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    editor(monkeypatch, home, 'colour = "red"\n')
    assert run(["templates", "edit", "new"]) == 2
    assert "unknown key 'colour'" in capsys.readouterr().err
    assert "$input" in (config.paths().config_file.parent / "templates" / "new.toml").read_text()
    assert run(["templates", "edit", "../new"]) == 2


def test_what_a_template_does_not_keep_is_said(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "ask",
        "what is it?",
        "--image",
        "red.png",
        "--temperature",
        "0",
        "-f",
        "notes.md",
        "--save",
        "img",
        "--raw",
    ]
    assert run(words) == 0
    assert "Not part of the template: --image, --file, --raw. Give them with -t img\n" in capsys.readouterr().err
    assert run(["ask", "what is it?", "--temperature", "0", "--save", "plain"]) == 0
    assert "Not part" not in capsys.readouterr().err


def test_a_placeholder_that_is_spelt_wrong_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tr.txt").write_text("Translate to $language: $input")
    (folder / "two.txt").write_text("$first $second")
    assert run(["ask", "-t", "tr", "-p", "langage=French", "x"]) == 2
    assert capsys.readouterr().err.endswith("The template tr has no $langage. Did you mean language?\n")
    assert run(["ask", "-t", "two", "-p", "zzz=1", "x"]) == 2
    assert capsys.readouterr().err.endswith("The template two has no $zzz. See: pixtral templates show two\n")


def test_several_templates_are_removed_at_once_or_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (folder / f"{name}.txt").write_text("x")
    assert run(["templates", "rm", "a", "nosuch", "-y"]) == 2
    assert (folder / "a.txt").exists()
    assert run(["templates", "rm", "a", "b", "-y"]) == 0
    assert list(folder.iterdir()) == []
    assert capsys.readouterr().err.endswith("Removed the template a\nRemoved the template b\n")
