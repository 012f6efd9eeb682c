"""What errors and notes advise can be done: every command, option and slash command that they name is there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from pixtral_cli.cli.app import app
from pixtral_cli.terminal.repl.commands.table import BY_NAME

PACKAGE = Path(__file__).parents[1] / "pixtral_cli"
SAYING = re.compile(r"\w*(?:Error|OutOfMemory|AnswerMismatch|refuse|note|say|tell|warn|hint)$")
COMMAND = re.compile(
    r"(?:[:;,] |[`(|] ?)pixtral ([a-z]+)(?: ([a-z]+))?"
)  # one that is to be typed, not a sentence about it
OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]+|-[a-zA-Z])(?![\w-])")
SLASH = re.compile(r"(?<![\w/.~}*<])/([a-z]{2,})(?![\w/.])")
OF_OTHERS = {"--gpu-memory-utilization", "--head", "-X"}  # of vLLM, Ray and ssh


def texts() -> Iterator[tuple[str, str]]:
    """Every text that a call which tells people something is given, and where."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and SAYING.match(getattr(node.func, "id", getattr(node.func, "attr", ""))):
                for argument in (*node.args, *(each.value for each in node.keywords)):
                    if text := written(argument):
                        yield f"{file.relative_to(PACKAGE)}:{node.lineno}", text


def written(node: ast.expr) -> str:
    """The text of a literal, `…` where something is put in."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(written(each) or "…" for each in node.values)
    return ""


TEXTS = list(texts())
ROOT: Any = typer.main.get_command(app)


def options_of(command: Any) -> set[str]:
    """The options of a command and of all below it."""
    names = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    return names.union(*(options_of(each) for each in getattr(command, "commands", {}).values()))


OPTIONS = options_of(ROOT) | {"--help", "--json", "--version"} | OF_OTHERS


def test_enough_texts_are_looked_at() -> None:
    assert len(TEXTS) > 600
    assert sum(bool(COMMAND.search(text)) for _, text in TEXTS) > 20
    assert sum(bool(OPTION.search(text)) for _, text in TEXTS) > 60


def test_what_is_not_there_is_found() -> None:
    assert unknown("commands", "See: pixtral sessions ls", "x.py:1") == ["pixtral sessions ls"]
    assert unknown("commands", "Run `pixtral nope`", "x.py:1") == ["pixtral nope"]
    assert unknown("options", "Use --nope, or -m NAME", "x.py:1") == ["--nope"]
    assert unknown("slash commands", "try /nope or /help", "terminal/repl/x.py:1") == ["nope"]


@pytest.mark.parametrize("kind", ["commands", "options", "slash commands"])
def test_what_is_advised_is_there(kind: str) -> None:
    wrong = [f"{where}: {name}" for where, text in TEXTS for name in unknown(kind, text, where)]
    assert wrong == []


def unknown(kind: str, text: str, where: str) -> list[str]:
    if kind == "options":
        return [found for found in OPTION.findall(text) if found not in OPTIONS]
    if kind == "slash commands":
        return (
            [found for found in SLASH.findall(text) if found not in BY_NAME]
            if where.startswith("terminal/repl")
            else []
        )
    missing = []
    for first, second in COMMAND.findall(text):
        command = ROOT.commands.get(first)
        below = getattr(command, "commands", None)
        if command is None or (below is not None and second and second not in below):
            missing.append(f"pixtral {first} {second}".strip())
    return missing
