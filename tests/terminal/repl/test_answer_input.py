"""The prompt while an answer streams: what is typed is shown and kept as one draft; stopped answers are kept too."""

import io
import os
import time

import pytest

from pixtral_cli.terminal.repl.answer_input import AnswerInput, without_last_character
from tests.terminal.repl.chatting import Chat

LONG = " ".join(f"word{number}" for number in range(60))


@pytest.mark.parametrize(
    "columns", [80, 20, pytest.param(100, marks=pytest.mark.slow), pytest.param(40, marks=pytest.mark.slow)]
)
def test_what_is_typed_during_an_answer_is_seen_and_is_the_next_draft(columns: int) -> None:
    with Chat(columns, 24) as chat:
        chat.echo(PAUSE="0.1")
        chat.type(LONG.encode() + b"\r")
        chat.wait_for("word3")
        chat.type(b"and then")
        chat.until(lambda: "> and then" in chat.text and "Ctrl-C stops" in chat.text, "the draft below the answer")
        chat.type(b"\x7f\x7f\x7f\x7fnow")
        chat.until(lambda: "> and now" in chat.text, "the draft mended")
        chat.type(b"\x03")
        chat.wait_for("Stopped.")
        chat.until(lambda: chat.text.rstrip("\n").split("\n>")[-1].startswith(" and now"), "the draft in the prompt")
        assert "> and then" not in chat.text


@pytest.mark.parametrize("columns", [80, 20])
@pytest.mark.parametrize("flags", [["--raw"], []])
def test_what_is_typed_during_an_answer_shown_as_written_is_seen_too(columns: int, flags: list[str]) -> None:
    said = f"**one** vector<int> {LONG}"
    with Chat(columns, 24) as chat:
        chat.echo(*flags, PAUSE="0.05")
        if not flags:
            chat.type(b"/set markdown off\r")
            chat.until(lambda: chat.text.count("\n>") == 2, "the next prompt")
        chat.type(said.encode() + b"\r")
        chat.wait_for("Ctrl-C stops")
        chat.type(b"and then")
        chat.until(lambda: "> and then" in chat.text and "Ctrl-C stops" in chat.text, "the draft below the answer")
        chat.until(
            lambda: "Ctrl-C stops" not in chat.text and chat.text.endswith("\n> and then\n"), "the draft in the prompt"
        )
        chat.until(
            lambda: "".join(chat.text.split()).count("".join(said.split())) == 2, "question and answer, each whole"
        )
        chat.end(keys=b"\x15\x04")


def test_what_is_typed_during_an_answer_under_a_schema_is_seen_too() -> None:
    with Chat(40, 24) as chat:
        chat.echo("--schema", "[a]", PAUSE="0.05")
        chat.type(LONG.encode() + b"\r")
        chat.wait_for("Ctrl-C stops")
        chat.type(b"and then")
        chat.until(lambda: "> and then" in chat.text and "Ctrl-C stops" in chat.text, "the draft below the answer")
        chat.until(
            lambda: "Ctrl-C stops" not in chat.text and chat.text.endswith("\n> and then\n"), "the draft in the prompt"
        )

        def broken() -> set[str]:
            return {*LONG.split()[1:]} - {*chat.text.partition("> word0")[2].partition("\nword0")[2].split()}

        chat.until(lambda: not broken(), "an answer without a broken word")
        chat.end(keys=b"\x15\x04")


def test_enter_sends_the_draft_when_the_answer_is_whole() -> None:
    with Chat() as chat:
        chat.echo(PAUSE="0.2")
        chat.type(b"one two three four five six\r")
        chat.wait_for("one two")
        chat.type(b"next one\r")
        chat.wait_for("sent after the answer")
        chat.until(lambda: chat.text.count("next one") == 2, "the answer to the draft")


def test_lines_that_are_typed_one_by_one_during_an_answer_are_entered_one_by_one() -> None:
    with Chat() as chat:
        chat.echo(PAUSE="0.2")
        chat.type(LONG.encode() + b"\r")
        chat.wait_for("word3")
        for line in ("next one", "/exit now", "last one"):
            chat.type(line.encode() + b"\r")
            chat.until(lambda line=line: f"> {line}" in chat.text, "the line below the answer")  # type: ignore[misc]
        chat.wait_for("sent one by one after the answer")
        chat.until(lambda: chat.text.endswith("> last one\nlast one\n\n>\n"), "the answer to the last one")
        assert "> next one\nnext one\n" in chat.text
        assert "> /exit now\n/exit takes no words" in chat.text
        chat.end()


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (["one", "\r", "two", "\r", "/stats", "\r"], "one\rtwo\r/stats\r"),
        (["one", "\r", "two"], "one\rtwo"),
        (["one", "\r", "x", "\x7f", "\x7f"], "on"),
        (["one", "\r", "two", "\r", "\x15"], "one\r"),
        (["one", "\r", "\x1b[200~a\nb\x1b[201~", "\r", "\r", "c"], "one\r\x1b[200~a\nb\x1b[201~\rc"),
        (["a\x0ab", "\r"], "\x1b[200~a\nb\x1b[201~\r"),
        (["\r", " ", "\r"], " "),
    ],
)
def test_each_enter_during_an_answer_ends_an_entry(typed: list[str], keys: str) -> None:
    reading, writing = os.pipe()
    with AnswerInput(reading, io.StringIO(), str) as below:
        for piece in typed:
            os.write(writing, piece.encode())
            below.read()
    for descriptor in (reading, writing):
        os.close(descriptor)
    assert below.typed().decode() == keys


def test_leaving_is_not_forgotten_when_it_is_asked_for_during_an_answer() -> None:
    with Chat() as chat:
        chat.echo(PAUSE="0.1")
        chat.type(b"one two three four five six\r")
        chat.wait_for("one two")
        chat.end()


@pytest.mark.parametrize("marks", [(b"\x1b[200~", b"\x1b[201~"), (b"", b"")])
def test_three_lines_pasted_during_an_answer_are_one_draft(marks: tuple[bytes, bytes]) -> None:
    with Chat() as chat:
        chat.echo(PAUSE="0.1")
        chat.type(LONG.encode() + b"\r")
        chat.wait_for("word3")
        chat.type(marks[0] + b"first line\rsecond line\rthird line\r" + marks[1])
        chat.wait_for("third line")
        chat.type(b"\x03")
        chat.wait_for("Stopped.")
        time.sleep(1)
        assert chat.text.count("first line") == 1
        chat.type(b"\r")
        chat.until(lambda: chat.text.count("third line") == 2, "one answer to three lines")


@pytest.mark.parametrize(
    ("text", "left"),
    [("abc", "ab"), ("日本", "日"), ("a👨‍👩‍👧‍👦", "a"), ("a👍🏽", "a"), ("a🇩🇪", "a"), ("🇩🇪🇫🇷", "🇩🇪"), ("ae\u0301", "a"), ("a❤️", "a"), ("", "")],
)  # fmt: skip
def test_backspace_takes_what_a_reader_sees_as_one_character(text: str, left: str) -> None:
    assert without_last_character(text) == left
