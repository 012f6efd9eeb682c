"""The REPL as people use it every day: commands that are understood or refused, names that are text, pastes, versions."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image as PIL

from pixtral_cli.terminal.desktop.clipboard import Desktop
from pixtral_cli.terminal.output.notes import Notes
from pixtral_cli.terminal.repl import attachments, setup
from pixtral_cli.terminal.repl.commands import table
from tests.fakes import FakeEngine
from tests.terminal.repl.driver import Room


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.chdir(tmp_path)
    for name, colour in (("red.png", "red"), ("blue.png", "blue"), ("green.png", "green")):
        PIL.new("RGB", (64, 32), colour).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    return Room(tmp_path, FakeEngine(["One.", "Two.", "Three.", "Four."]))


@pytest.mark.parametrize(
    "line", ["/clear up this picture", "/paste this", "/images please", "/bye then", "/raw it", "/edit my text"]
)
def test_a_stray_word_behind_a_command_that_takes_none_is_refused(room: Room, line: str) -> None:
    said = room.type("hello", line)
    assert "takes no words" in said
    assert "Begin with a space to send it as text" in said
    assert len(room.state.conversation.turns) == 2


@pytest.mark.parametrize(
    ("line", "meant"), [("/he", "help"), ("/ver", "versions"), ("/und", "undo"), ("/sess", "sessions")]
)
def test_the_only_command_that_begins_so_is_run(line: str, meant: str) -> None:
    assert table.find(line[1:]).name == meant


@pytest.mark.parametrize("line", ["/s", "/xyz", "/hlep"])
def test_a_command_that_is_none_says_how_it_is_sent_as_text(room: Room, line: str) -> None:
    assert "Begin with a space to send it as text" in room.type(line)
    assert room.engine.seen == []


@pytest.mark.parametrize("word", ["exit", "quit", " Exit "])
def test_exit_and_quit_leave_without_a_slash(room: Room, word: str) -> None:
    room.keys(f"{word}\rnever asked\r")
    assert room.engine.seen == []


def test_undo_takes_several_and_redo_brings_them_back(room: Room) -> None:
    said = room.type("first", "second", "third", "/undo 2", "/redo", "/redo")
    assert said.count("Taken back") == 2
    assert said.count("Brought back") == 2
    assert [message.text for message in room.state.conversation.turns[::2]] == ["first", "second", "third"]
    assert "'two' is not a number" in room.type("/undo two")


def test_every_try_is_a_version_that_can_be_shown_again(room: Room) -> None:
    said = room.type("first", "/regen", "/versions", "/versions 1")
    assert "One." in said
    assert "Two." in said
    assert room.state.conversation.turns[-1].text == "One."
    assert "No version 9" in room.type("/versions 9")


def test_images_are_dropped_by_ranges_and_all_at_once(room: Room) -> None:
    said = room.type("/image red.png blue.png green.png", "/drop 2-3", "/images", "/drop all", "/images")
    assert "#2 blue.png is out." in said
    assert "#3 green.png is out." in said
    assert "#1 red.png is out." in said
    assert room.state.conversation.images == ()


def test_of_several_pictures_the_good_ones_are_attached_and_the_bad_named(room: Room) -> None:
    said = room.type("/image *.png")
    assert len(room.state.conversation.staged) == 3
    assert "broken.png" in said


@pytest.mark.parametrize(
    ("typed", "name", "left"),
    [
        ("/set stop x|/set stop off", "stop", None), ("/set stop x|/set stop none", "stop", None),
        ("/set seed 3|/set seed off", "seed", None), ("/set temperature 1|/set temperature default", "temperature", None),
        ('/set stop "off"', "stop", ("off",)), ("/set max_tokens 5|/set max_tokens none", "max_tokens", None),
        ("/set stats on|/set stats off", "stats", False), ("/set markdown off", "markdown", False),
        ("/set markdown off|/set markdown default", "markdown", None), ("/set preview off", "preview", "off"),
    ],
)  # fmt: skip
def test_off_none_and_default_undo_every_setting(room: Room, typed: str, name: str, left: object) -> None:
    room.type(*typed.split("|"))
    assert room.state.settings.get(name) == left


@pytest.mark.parametrize("word", ["off", "none", "default"])
def test_the_system_prompt_is_taken_away_by_each_of_these_words(room: Room, word: str) -> None:
    room.type("/system Be brief.", f"/system {word}")
    assert room.state.conversation.system is None


@pytest.mark.parametrize("text", ['""', "''", '""""""'])
def test_an_empty_system_prompt_turns_the_vendors_off(room: Room, text: str) -> None:
    said = room.type(f"/system {text}", "/system", "/show", "Hello?")
    assert [message.role for message in room.engine.seen[0][0]] == ["system", "user"]
    assert room.engine.seen[0][0][0].text == ""
    assert said.count("none, the vendor's is off") == 3
    room.type("/system off", "Hello?")
    assert room.engine.seen[1][0][0].role == "user"


@pytest.mark.parametrize(
    "question", ["How do I convert photo.png to jpeg?", "What would logo.jpg be called in French?"]
)
def test_a_file_name_inside_a_question_does_not_block_it(room: Room, question: str) -> None:
    said = room.type(question)
    assert room.asked() == [question]
    assert "is not here: sent as text" in said


def test_a_path_that_is_not_here_is_an_error_still(room: Room) -> None:
    for line in ("What is in ./pics/none.png?", "@none.png what is this?", "none.png what?"):
        room.type(line)
    assert room.engine.seen == []


def test_the_toolbar_says_what_enter_does(room: Room) -> None:
    def says(text: str, pasted: Sequence[str] = ()) -> str:
        return setup.toolbar(room.state, text, pasted)

    assert "Enter attaches red.png" in says("what is red.png ?")
    assert "Enter attaches" not in says("How do I convert photo.png to jpeg?")
    assert "broken.png is no picture that can be read" in says("what is broken.png ?")
    assert "none.png is not here" in says("what is ./none.png ?")
    assert "Enter attaches" not in says("a\nred.png\nb", ["a\nred.png\nb"])
    assert attachments.attach_problem("https://a.b/c.png") == ""


def test_the_context_that_is_used_is_always_there(room: Room) -> None:
    room.type("hello")
    assert "of 1,000" in setup.toolbar(room.state, "")


def test_a_long_paste_is_one_line_until_it_is_sent(room: Room) -> None:
    block = "\n".join(f"line {number}" for number in range(500))
    room.keys(f"\x1b[200~{block}\x1b[201~ Summarise.\r")
    assert room.asked() == [f"{block} Summarise."]


@pytest.mark.parametrize(
    ("env", "tools", "said"),
    [
        ({"TMUX": "/tmp/t"}, ("tmux",), "Copied 4 characters to tmux's buffer"),
        ({}, (), "Sent 4 characters to the terminal, which may put it on the clipboard (OSC 52)"),
        ({"WAYLAND_DISPLAY": "w"}, ("wl-copy",), "Copied 4 characters to the clipboard."),
    ],
)
def test_copying_says_where_the_text_went(room: Room, env: dict[str, str], tools: tuple[str, ...], said: str) -> None:
    def run(command: Sequence[str], data: bytes | None = None, seconds: float = 10) -> bytes | None:
        return b""

    desktop = Desktop(env, "linux", lambda name: name if name in tools else None, run)
    assert said in Room(room.folder, FakeEngine(["One."]), desktop=desktop).type("hello", "/copy")


@pytest.mark.parametrize(
    ("languages", "hint"),
    [
        ("html", "/save 1 · /open 1 · /copy 1\n"), ("html svg", "/save 1 · /open 1 · /copy 1 (1 to 2)\n"),
        ("py html", "/save 1 · /open 2 · /copy 1 (1 to 2)\n"), ("py sh", "/save 1 · /copy 1 (1 to 2)\n"),
    ],
)  # fmt: skip
def test_what_can_be_done_with_code_is_reported_below_it(room: Room, languages: str, hint: str) -> None:
    answer = "\n".join(f"Here:\n```{language}\nx = 1\n```\n" for language in languages.split())
    assert hint in Room(room.folder, FakeEngine([answer])).type("draw")


@pytest.mark.parametrize("columns", [80, 100])
def test_help_fits_a_window_of_24_lines_and_lists_settings(room: Room, columns: int) -> None:
    room.state.notes = Notes(room._out, width=columns)
    said = room.type("/help")
    assert said.count("\n") <= 24
    assert all(f"/{row.name}" in said for row in table.TABLE)
    said = room.type("/help set")
    assert all(name in said for name in ("temperature", "markdown", "stop"))


def test_the_last_answer_is_shown_without_rendering(room: Room) -> None:
    assert "**bold** `code`" in Room(room.folder, FakeEngine(["**bold** `code`"])).type("x", "/raw")
