"""Torture H: lines that are weapons, typed and pasted."""

import time
from pathlib import Path

import pytest

from pixtral_cli.images import folders
from pixtral_cli.terminal.repl import input_parser
from tests.fakes import FakeEngine
from tests.terminal.repl.driver import Room

LENGTH = 40_000
PIECES = ["(", "([{", "(a", "('", '("', "(@", "(http://", "http://a ", "x.png ", "(x.png ", "see x.png and ", "`", "```", "'a ", "((@a.png ", "a/", "#1 "]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_a_line_of_a_weapon_repeated_is_understood_in_seconds(piece: str) -> None:
    line = (piece * LENGTH)[:LENGTH]
    began = time.process_time()
    meant = input_parser.parse(line, folders.path_exists)
    assert isinstance(meant, input_parser.Question)
    assert meant.text or meant.sources
    assert time.process_time() - began < 120  # quadratic, it took minutes


@pytest.mark.parametrize("piece", ["(", "([{"])
def test_a_longer_line_of_brackets_takes_no_square_of_the_time(piece: str) -> None:
    line = (piece * 4 * LENGTH)[: 4 * LENGTH]
    began = time.process_time()
    assert isinstance(input_parser.parse(line, folders.path_exists), input_parser.Question)
    assert time.process_time() - began < 60  # quadratic, it took minutes


@pytest.mark.parametrize("paste", [False, True], ids=["typed", "pasted"])
def test_a_line_of_parentheses_is_asked_like_any_other(tmp_path: Path, paste: bool) -> None:
    line = "(" * LENGTH
    room = Room(tmp_path, FakeEngine(["Open."]))
    began = time.process_time()
    room.keys(f"\x1b[200~{line}\x1b[201~\r" if paste else f"{line}\r")
    assert room.answers == ["Open."]
    assert room.asked() == [line]
    assert time.process_time() - began < 60
