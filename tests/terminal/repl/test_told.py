"""What the REPL tells: files that a sentence names, what a command took away, why nothing came, and a toolbar that is true."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image as PIL
from wcwidth import wcswidth

from pixtral_cli.chat.engine import Chunk
from pixtral_cli.chat.message import assistant, user
from pixtral_cli.chat.templates import Template
from pixtral_cli.errors import ModelError
from pixtral_cli.terminal.repl import setup
from pixtral_cli.terminal.repl.chosen_template import ChosenTemplate
from tests.fakes import FakeEngine
from tests.terminal.repl.chatting import Chat
from tests.terminal.repl.driver import EMPTY, Room


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.chdir(tmp_path)
    for shade, name in enumerate(("red.png", "scans/p1.png", "scans/p2.png", "my scans/a.png")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        PIL.new("RGB", (64, 32), (shade * 9, 0, 0)).save(tmp_path / name)
    (tmp_path / "empty").mkdir()
    for name in ("notes.md", "a b.txt", "Makefile"):
        (tmp_path / name).write_text("words\n")
    (tmp_path / "blob.bin").write_bytes(b"\0\1\2")
    return Room(tmp_path, FakeEngine([f"Answer {number}." for number in range(9)]))


# A model whose load failed


def failed(room: Room) -> Room:
    """The REPL once its model has failed to load, unseen."""
    room.state.backend.start()
    room.state.backend._finished.wait(60)
    assert room.state.backend.state == "failed"
    return room


def test_a_question_tries_a_load_that_failed_again(room: Room) -> None:
    tries: list[str] = []

    def opened() -> FakeEngine:
        tries.append("")
        if len(tries) < 3:
            raise ModelError(f"The disk is asleep, {len(tries)}")
        return room.engine

    again = failed(Room(room.folder, room.engine, opened))
    said = again.type("first", "/regen", "third")
    assert again.answers == ["Answer 0.", "Answer 1."]
    assert said.count("The disk is asleep") == 1
    assert len(tries) == 3


def test_an_engine_whose_weights_could_not_be_loaded_is_let_go_of_and_opened_anew(room: Room) -> None:
    told: list[str] = []

    class Loading(FakeEngine):
        loaded, doing = 0.0, ""

        def load(self, check: object) -> None:
            told.append("load")
            if told.count("load") < 3:
                raise ModelError("A shard is missing")

        def close(self) -> None:
            told.append("close")

    again = failed(Room(room.folder, open=lambda: Loading(["Here."])))
    assert again.type("one", "/regen").count("A shard is missing") == 1
    assert told == ["load", "close", "load", "close", "load", "close"]
    assert again.answers == ["Here."]


def test_the_toolbar_says_that_the_next_question_tries_again(room: Room) -> None:
    def opened() -> FakeEngine:
        raise ModelError("gone")

    assert "the next question tries again" in setup.toolbar(failed(Room(room.folder, open=opened)).state, "")


# Names in a sentence


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("summarise notes.md please", "sent as text: notes.md (@notes.md sends what it holds)"),
        ("what does the Makefile build?", "sent as text: Makefile (@Makefile sends what it holds)"),
        ("read 'a b.txt' aloud", "sent as text: 'a b.txt' (@a\\ b.txt sends what it holds)"),
        ("what is in scans/?", "sent as text: scans/ (@scans/ attaches its 2 pictures)"),
        ("compare all (scans).", "sent as text: scans (@scans attaches its 2 pictures)"),
        ("what shows *.png ?", "sent as text: *.png (@*.png attaches its 1 picture)"),
        ("(scans/*) and scans/*.png?", "sent as text: scans/*.png (@scans/*.png attaches its 2 pictures)"),
        ("tell me about my\\ scans now", "sent as text: my\\ scans (@my\\ scans attaches its 1 picture)"),
    ],
)
def test_a_file_or_folder_that_a_sentence_names_is_noted(room: Room, line: str, note: str) -> None:
    assert note in room.type(line)
    assert room.asked() == [line]


@pytest.mark.parametrize(
    "line",
    [
        "what is in empty ?",
        "see blob.bin",
        "is `notes.md` short?",
        "no-such.md?",
        "@notes.md short?",
        "a / b ~ .. . c",
        "is 2 * 3 = 6? *.gif?",
        "`*.png`",
        "why **/ and empty/*?",
    ],
)
def test_a_name_that_cannot_be_attached_or_is_quoted_as_code_is_not_noted(room: Room, line: str) -> None:
    assert "sent as text" not in room.type(line)


def test_a_file_behind_an_at_that_is_not_here_is_noted(room: Room) -> None:
    assert "pics/none.md is not here: sent as text" in room.type("@pics/none.md short?")
    before = len(room.said.getvalue())
    assert (
        "is not here" not in room.type("@notes.md short?", "hello @john, me@example.org?", "@scans/*.png ok?")[before:]
    )


def test_of_a_folder_the_pictures_that_can_be_read_are_attached_and_the_others_named(room: Room) -> None:
    Path("scans/p0.png").write_text("<html>")
    said = room.type("@scans what are these?")
    assert room.asked() == ["[p1.png]", "[p2.png]", "what are these?"]
    assert "p0.png: looks like HTML" in said
    Path("empty/x.png").write_text("<html>")
    assert "x.png: looks like HTML" in room.type("@empty what are these?")
    assert len(room.engine.seen) == 1


# Settings and commands


@pytest.mark.parametrize(
    ("typed", "meant"), [("temprature 1", "temperature"), ("temp 1", "temperature"), ("max-token 9", "max_tokens"), ("seeed 1", "seed"), ("lang x", "language")],
)  # fmt: skip
def test_a_mistyped_setting_is_guessed(room: Room, typed: str, meant: str) -> None:
    room.state.template = ChosenTemplate(Template("t", prompt="$language: $input"), {"language": "French"})
    assert f"Did you mean /set {meant}?" in room.type(f"/set {typed}")
    assert "There are temperature, " in room.type("/set zzz 1")


def test_redo_after_a_new_question_says_where_the_undone_one_is(room: Room) -> None:
    said = room.type("first", "/undo", "second", "/redo")
    assert "There is nothing to bring back. What was undone before this question is a version of it: /versions" in said
    assert "first" in room.type("/versions")
    assert "/versions" not in Room(room.folder, FakeEngine(["One."])).type("only", "/redo").partition("nothing")[2]


def test_an_empty_title_takes_the_title_away(room: Room) -> None:
    room.type("hello", '/rename "Receipts of May"')
    assert room.sessions.list()[0].title == "Receipts of May"
    for empty in ('""', "''"):
        assert "Its title is the beginning of its first question" in room.type("/rename Else", f"/rename {empty}")
        assert room.sessions.list()[0].title == "hello"


def test_dropping_says_what_it_takes_away(room: Room) -> None:
    said = room.type("red.png", "/drop 1", "scans/p1.png what?", "#2 and now?", "/drop 2")
    assert "#1 red.png is out." in said
    assert "#2 p1.png is out, also of the 2 questions that it was sent in: the words stay." in said
    assert "#2" not in room.type("/images").partition("words stay.")[2]


def test_a_list_says_that_there_are_more(room: Room) -> None:
    for number in range(25):
        with room.sessions.add([user(f"question {number}"), assistant("well")]):
            pass
    said = room.type("/sessions")
    assert "/load ID goes on with one. These are the newest of 25; /sessions WORDS finds others." in said
    assert said.count("question ") == 19
    assert "Which one? 1 to 19 (the newest of 25), or an id; Enter: none" in room.keys("/load\r\r")
    before = len(room.said.getvalue())
    assert "newest of" not in room.type("/sessions question")[before:]


def test_what_an_answer_took_that_is_shown_again_is_said_to_be_gone(room: Room) -> None:
    said = room.type("hello", "/regen", "/versions 1", "/stats")
    assert "There is no answer yet" not in said
    assert "What this answer took is not known any more" in said


def test_a_picture_that_is_not_scaled_has_one_size_and_is_named_once(room: Room) -> None:
    assert "#1 red.png  64×32  10 tokens" in room.type("red.png")
    assert "Enter attaches red.png ·" in setup.toolbar(room.state, "red.png and @red.png and ./red.png ?")


# The toolbar


def used(room: Room) -> str:
    return setup.toolbar(room.state, "").rpartition(" · ")[2]


def test_the_context_used_is_that_of_the_conversation_shown(room: Room) -> None:
    room.type("one two three four")
    first = used(room)
    assert room.state.session
    name = room.state.session.id
    room.type("/clear", "five")
    second = used(room)
    assert first != second
    room.type(f"/load {name}")
    assert used(room) == first
    room.type("/undo")
    assert used(room) not in (first, "")
    room.type("/redo")
    assert used(room) == first
    room.type("/system You are brief and kind.")
    assert used(room) != first


def test_the_context_used_counts_an_answer_that_was_stopped(room: Room) -> None:
    def stopped() -> Iterator[Chunk]:
        yield Chunk("a part of it ")
        raise KeyboardInterrupt

    class Stopped(FakeEngine):
        def stream(self, messages: object, sampling: object) -> Iterator[Chunk]:
            return stopped()

    room = Room(room.folder, open=lambda: Stopped())
    room.type("one two three")
    assert room.state.conversation.turns[-1].interrupted
    assert used(room).startswith("7 of ")


@pytest.mark.parametrize("columns", [20, 12, 40])
def test_a_narrow_toolbar_has_more_lines_and_loses_nothing(room: Room, columns: int) -> None:
    room.type("hello", "red.png")
    wide = setup.toolbar(room.state, "and #1?")
    narrow = setup.toolbar(room.state, "and #1?", (), columns)
    assert all(wcswidth(line) <= columns for line in narrow.split("\n"))
    assert narrow.replace("\n", " ").replace(" · ", " ").split()[-3:] == wide.split()[-3:]
    if columns >= 20:
        assert narrow.replace("\n", " ").replace(" · ", " ").split() == wide.replace(" · ", " ").split()


def test_a_toolbar_of_twenty_columns_is_shown_whole(room: Room) -> None:
    with Chat(columns=20) as chat:
        chat.echo()
        chat.type(b"one two three\r")
        chat.until(lambda: "of 1,000" in "\n".join(chat.lines), "the context used")
        chat.type(b"red.png")
        chat.until(lambda: "red.png" in chat.text and "attaches" in "\n".join(chat.lines), "what Enter does")
        assert "of 1,000" in chat.lines[-1]
        chat.type(EMPTY.encode())
        chat.end()


# A line that replaces the last question


def test_a_line_that_is_emptied_ends_the_edit(room: Room) -> None:
    room.keys(f"first\r/edit\r{EMPTY}second\r")
    assert [message.text for message in room.state.conversation.turns[::2]] == ["first", "second"]
    assert not room.state.edits


def test_the_toolbar_says_that_the_last_question_is_edited_until_the_line_is_emptied(room: Room) -> None:
    told: list[str] = []

    class Watched(type(room.state)):  # type: ignore[misc]
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "edits" and self.__dict__.get("backend"):
                told.append(setup.toolbar(self, "first"))

    room.state.__class__ = Watched
    room.keys(f"first\r/edit\r{EMPTY}")
    assert ["editing the last question" in each for each in told] == [False, False, True, False]


def test_an_edit_goes_on_after_a_picture_is_pasted_into_it(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.keys("first\r/edit\r\x16 more\r")  # Ctrl-V: there is no picture to paste
    assert [message.text for message in room.state.conversation.turns[::2]] == ["first more"]


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_every_version_is_one_line_that_fits_the_window(room: Room, columns: int) -> None:
    room.engine.answers[:] = ["```html\n<!doctype html>" + "long " * 40] * 3
    room.type("Write HTML code for what is drawn here, and mind the colours of it all " * 2, "/regen")
    room.state.notes = replace(room.state.notes, width=columns)
    before = len(room.said.getvalue())
    listed = room.type("/versions")[before:].splitlines()
    assert [line[:3] for line in listed[:2]] == ["  1", "* 2"]
    assert max(map(wcswidth, listed[:2])) <= columns
    assert "Write" in listed[0] or columns < 40
    assert "```html" in listed[1]


def test_a_slash_alone_is_a_look_for_the_commands(room: Room) -> None:
    assert "holds no picture" not in setup.toolbar(room.state, "/")
    assert "/help COMMAND says what one does" in room.type("/")


@pytest.mark.parametrize("line", ["/exit now", "/quit now", "/new one"])
def test_a_refusal_names_the_command_that_was_typed(room: Room, line: str) -> None:
    assert f"{line.split()[0]} takes no words" in room.type(line)


def test_hints_name_commands_of_the_chat(room: Room) -> None:
    said = room.type("/load zzz", "/versions")
    assert "There is no session 'zzz'. /sessions lists them" in said
    assert "There is no question yet. Ask something first" in said


def test_a_new_conversation_says_which_attached_pictures_it_leaves(room: Room) -> None:
    said = room.type("red.png", "scans/p1.png", "/new")
    assert "A new conversation begins, without what was attached: #1 red.png, #2 p1.png." in said


def test_a_number_that_was_dropped_is_told_with_those_that_are_there(room: Room) -> None:
    said = room.type("red.png scans/p1.png same?", "/drop 1", "same as #1?", "/drop 9")
    assert "No image #1: there is #2 alone. /images lists them" in said
    assert "No image #9: there is #2 alone. /images lists them" in said


def test_a_name_is_said_to_be_sent_as_text_only_where_it_is_sent(room: Room) -> None:
    said = room.type("see @nope.png and nope2.png")
    assert "nope.png: no such file" in said
    assert "sent as text" not in said
    assert "nope2.png is not here: sent as text" in room.type("see nope2.png")
    assert room.engine.seen


def test_the_other_names_of_a_command_are_commands(room: Room) -> None:
    assert "/bye, /exit, /quit" in room.type("/help").replace("\n", " ")


def test_a_conversation_whose_question_was_taken_back_says_so_when_it_is_loaded(room: Room) -> None:
    said = room.type("red.png what?", "/undo", "/clear")
    name = room.sessions.list()[0].id
    again = Room(room.folder, room.engine)
    said = again.type(f"/load {name}", "/redo")
    assert "What was asked has been taken back; /redo shows it again." in said
    assert "Brought back: what?" in said
    other = Room(room.folder, room.engine)
    assert "taken back" not in other.type(f"/load {name}")
