"""`pixtral config` as a user meets it."""

from pathlib import Path

import pytest

from pixtral_cli import config
from pixtral_cli.command_line import run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["theme.prompt", "bold gren"], "[theme] prompt cannot be 'bold gren'"),
        (["theme.code_blocks", "monokay"], "Such as: monokai"),
        (["keys.newline", "ctrl-q"], "which is no key"),
        (["keys.newline", "c-c"], "Ctrl-C stops"),
        (["aliases.demo", "ministral-3b"], "demo is the name of a model already"),
        (["aliases.Pixtral-12B", "ministral-3b"], "is the name of a model already"),
        (["aliases.x", "nosuch"], "There is no model named 'nosuch'"),
        (["temperature=0.3"], "temperature needs a value. Write: pixtral config set temperature 0.3"),
        (["system=be short"], "Write: pixtral config set system 'be short'"),
        (["temperature"], "Write: pixtral config set temperature VALUE"),
    ],
)
def test_what_could_not_be_used_is_not_set(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(["config", "set", *words]) in (2, 4)
    assert message in capsys.readouterr().err
    assert not config.config_file().exists()


def test_aliases_are_listed_with_the_models(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "set", "aliases.small", "ministral-3b"]) == 0
    assert run(["models"]) == 0
    assert capsys.readouterr().out.endswith("\nAliases:\n  NAME   MODEL\n  small  ministral-3b\n")


def test_an_alias_of_nothing_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.config_file().parent.mkdir(parents=True, exist_ok=True)
    config.config_file().write_text('[aliases]\nx = "nosuch"\n')
    assert run(["ask", "hi", "-m", "x", "--no-stdin"]) != 0
    assert "There is no model named 'nosuch', which 'x' is an alias of" in capsys.readouterr().err
