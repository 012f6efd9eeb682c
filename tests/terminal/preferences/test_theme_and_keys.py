"""The `[theme]` and `[keys]` of the config: in the line, in answers, in /help; what makes no sense is one line."""

from pathlib import Path

import pytest

from pixtral_cli import config
from pixtral_cli.errors import UsageError
from pixtral_cli.terminal.output.markdown.blocks import split
from pixtral_cli.terminal.output.markdown.renderer import block_renderer
from pixtral_cli.terminal.preferences.keys import DEFAULT_KEYS, chosen_keys, format_keys
from pixtral_cli.terminal.preferences.theme import input_line_styles
from tests.cli.calling import pixtral
from tests.fakes import FakeEngine
from tests.terminal.repl.chatting import Chat
from tests.terminal.repl.driver import Room


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIXTRAL_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_keys_of_the_config_do_what_they_are_set_for_and_the_usual_ones_no_more(home: Path) -> None:
    (home / "config.toml").write_text('[keys]\nnewline = "c-o"\neditor = "c-x c-e"\n')
    with Chat() as chat:
        chat.echo(EDITOR="sed -i s/one/ONE/")
        chat.type(b"one\x0ftwo")
        chat.until(lambda: "\n> one\n  two\n" in chat.text, "two lines")
        chat.type(b"\x18\x05")
        chat.until(lambda: "\n> ONE\n  two\n" in chat.text, "what the editor left")
        chat.type(b"\r")
        chat.until(lambda: "\n> ONE\n  two\nONE\ntwo" in chat.text, "the answer")
        chat.say("/help", "Ctrl-O makes a new line")
        assert "Ctrl-X Ctrl-E is your editor" in " ".join(chat.text.split())
        chat.end()


def test_the_theme_colours_the_prompt_and_answers(home: Path) -> None:
    (home / "config.toml").write_text('[theme]\nprompt = "bold red"\nheading = "green"\n')
    with Chat() as chat:
        chat.echo()
        chat.say("# Title", "Title")
        heading = next(row for row, line in enumerate(chat.lines) if line.startswith("Title"))
        assert chat.screen.buffer[heading][0].fg == "green"
        prompt = next(row for row, line in enumerate(chat.lines) if line.startswith("> #"))
        assert (chat.screen.buffer[prompt][0].fg, chat.screen.buffer[prompt][0].bold) == ("red", True)
        chat.end()


def test_code_is_coloured_by_the_style_that_is_named() -> None:
    [block] = split("```python\nimport os\n```\n")
    monokai, plain = (block_renderer(79, theme).lines(block) for theme in ((("code_blocks", "monokai"),), ()))
    assert monokai != plain
    assert [line.count("\x1b[38;2") > 0 for line in (monokai[-1], plain[-1])] != [True, True]


def test_a_style_is_written_once_for_both_libraries() -> None:
    styles = input_line_styles({"prompt": "bold green on #101010", "toolbar": "color(208) underline", "heading": "red"})
    assert styles == {
        "prompt": "noreverse bold fg:ansigreen bg:#101010", "bottom-toolbar": "noreverse underline fg:#ff8700",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[theme]\nprompt = "blurple"', "[theme] prompt cannot be 'blurple'. Such as: prompt = \"bold green\""),
        ('[theme]\ncode_blocks = "monokay"', "which is no style of Pygments. Such as: monokai"),
        ('[theme]\nheadng = "red"', "there is no 'headng'. Did you mean heading?"), ("[theme]\ncode = 3", "code must be a text, not 3"),
        ('theme = "dark"', "theme: must be a table"), ('[keys]\nnewline = "ctrl-o"', "which is no key. Such as:"),
        ('[keys]\neditor = "e"', "which is typed"), ('[keys]\npaste = "enter"', "Enter sends"), ('[keys]\npaste = "c-c"', "Ctrl-C stops"),
        ('[keys]\neditor = "c-v"', "which paste is"), ('[keys]\nsend = "c-s"', "there is no 'send'. There are newline,"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(home: Path, text: str, message: str) -> None:
    (home / "config.toml").write_text(text)
    done = pixtral("config") if "there is no" in message or "must be" in message else None
    error = done.stderr if done else refused()
    assert message in error
    assert error.count("\n") == (1 if done else 0)
    assert done is None or done.status == 2


def refused() -> str:
    """What a chat would say about the config, in one line."""
    from pixtral_cli.terminal.output.output import choose_output

    settings = config.load()
    with pytest.raises(UsageError) as error:
        choose_output(theme=settings.theme)
        chosen_keys(settings.keys or {})
    return f"{error.value.message}. {error.value.hint}"


def test_they_are_set_shown_and_taken_out_by_their_names(home: Path) -> None:
    assert pixtral("config", "set", "theme.prompt", "bold green").status == 0
    assert pixtral("config", "set", "keys.newline", "c-o").status == 0
    assert pixtral("config", "get", "keys.newline").stdout == "c-o\n"
    said = pixtral("config").stdout
    assert '[theme]\nprompt = "bold green"' in said
    assert '[keys]\nnewline = "c-o"' in said
    assert pixtral("config", "unset", "theme.prompt").status == 0
    assert config.load().theme is None
    refusal = pixtral("config", "set", "keys.newlin", "c-o")
    assert (refusal.status, refusal.stderr.count("\n")) == (2, 1)
    assert "Did you mean newline?" in refusal.stderr


def test_help_names_the_usual_keys_where_none_are_set(tmp_path: Path) -> None:
    said = Room(tmp_path, FakeEngine()).type("/help")
    assert "Ctrl-J makes a new line" in said
    assert "Ctrl-V is /paste" in said
    assert format_keys(DEFAULT_KEYS["complete"]) == "Tab"
