"""Conversations by their own titles and tags, picked from a list; `-c` asks where two could be meant."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from pixtral_cli import config
from pixtral_cli.command_line import run
from pixtral_cli.sessions.library import Sessions
from tests.cli.test_sessions import ids, saved
from tests.fakes import FakeEngine
from tests.terminal.repl.driver import Room

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*words: str) -> tuple[int, str, str]:
        status = run(list(words))
        return status, *capsys.readouterr()

    return call


def test_a_title_of_ones_own_stays_whatever_is_said_and_moves_nothing(call: Call) -> None:
    old, new = saved("old question", days_ago=3), saved("new question")
    status, out, err = call("sessions", "rename", old[:5], "Receipts", "of May")
    assert (status, out, err) == (0, "", f"Session {old}: Receipts of May\n")
    assert ids() == [new, old]
    with Sessions(config.paths().data).resume(old) as session:
        list(session.conversation().ask(FakeEngine(["more"]), "another question"))
    assert "Receipts of May" in call("sessions")[1]
    assert "# Receipts of May" in call("sessions", "show", old)[1]
    assert call("sessions", "rename", old, " ")[0] == 2


def test_tags_are_kept_listed_and_searched(call: Call) -> None:
    first, second = saved("one"), saved("two")
    assert call("sessions", "tag", first, "Work", "#receipts")[2] == f"Session {first}: #work #receipts\n"
    call("sessions", "tag", second, "work")
    assert re.search(rf"{first} .* one #work #receipts\n", call("sessions")[1])
    assert [entry["id"] for entry in json.loads(call("sessions", "--tag", "receipts", "--json")[1])["sessions"]] == [
        first
    ]
    assert {entry["id"] for entry in json.loads(call("sessions", "list", "--tag", "work", "--json")[1])["sessions"]} == {first, second}  # fmt: skip
    assert call("sessions", "tag", first, "work", "--remove")[2] == f"Session {first}: #receipts\n"
    assert call("sessions", "--tag", "nothing")[2] == "No session has the tag nothing\n"
    assert call("sessions", "tag", first, "two words")[0] == 2


def test_one_that_is_open_is_renamed_where_it_is_open(call: Call, tmp_path: Path) -> None:
    with Sessions(config.paths().data).start() as session:
        list(session.conversation().ask(FakeEngine(["well"]), "hello"))
        status, _, err = call("sessions", "rename", session.id, "Mine")
    assert status == 2
    assert "/rename and /tag" in err
    room = Room(tmp_path, FakeEngine(["One.", "Two."]))
    said = room.type("hello", "/rename My receipts", "/tag Work -draft may", "/tag -may", "and?", "/rename")
    assert "Title: My receipts" in said
    assert "Tags: #work #may" in said
    (entry,) = room.sessions.list()
    assert (entry.title, entry.tags, entry.messages) == ("My receipts", ("work",), 4)
    room.type("/clear")
    assert [entry.title for entry in room.sessions.list()] == ["My receipts"]


@pytest.mark.parametrize(("said", "loaded"), [("1", "second"), ("2", "first"), ("", ""), ("99", "")])
def test_load_without_an_id_picks_from_a_list(tmp_path: Path, said: str, loaded: str) -> None:
    for name in ("first", "second"):
        with Sessions(tmp_path / "data").start() as session:
            list(session.conversation().ask(FakeEngine(["well"]), name))
    room = Room(tmp_path, FakeEngine())
    heard = room.keys(f"/load\r{said}\r")
    assert "Which one? 1 to 2" in heard
    assert [message.text for message in room.state.conversation.turns] == ([loaded, "well"] if loaded else [])


def interleaved() -> tuple[str, str]:
    """Two conversations that were in use side by side, the one that was spoken to last first."""
    one, two = saved("about receipts"), saved("about cats")
    with Sessions(config.paths().data).resume(one) as session:
        list(session.conversation().ask(FakeEngine(["more"]), "and?"))
    return one, two


def test_going_on_says_where_another_could_be_meant(call: Call) -> None:
    one, two = interleaved()
    _, _, err = call("ask", "more?", "-c", "-m", "demo", "--no-stdin", "--dry-run")
    assert f"Going on with {one} (about receipts); {two} was in use too: --session {two}" in err
    three = saved("later")
    _, _, err = call("ask", "more?", "-c", "-m", "demo", "--no-stdin", "--dry-run")
    assert "Going on" not in err  # nobody spoke to another since it began
    assert ids()[0] == three


@pytest.mark.parametrize(("keys", "which"), [("\r", 0), ("2\r", 1)])
def test_at_a_terminal_going_on_asks_which(keys: str, which: int) -> None:
    both = interleaved()
    words = ["-m", "pixtral_cli", "ask", "more?", "-c", "-m", "demo", "-q"]
    with pexpect.spawn(sys.executable, words, timeout=240, encoding="utf-8") as child:
        child.expect("Which one goes on\\? 1 to 2, Enter: 1 ")
        child.send(keys)
        child.expect(pexpect.EOF)
    sessions = Sessions(config.paths().data)
    assert sessions.load(both[which]).messages[-2].text == "more?"
    assert len(sessions.list()) == 2
