"""Lines that are typed before anybody reads them: each is entered in its turn, and none changes the first question."""

import time
from pathlib import Path

import pytest

from tests.terminal.repl.chatting import Chat, draw_pictures, saved

LONG = " ".join(f"word{number}" for number in range(30))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw_pictures(tmp_path)
    return tmp_path


def questions(home: Path) -> list[str]:
    return [message.text.strip() for message in saved(home).messages if message.role == "user"]


@pytest.mark.parametrize("flags", [["--image", "circle.png"], [], ["--plain", "--image", "circle.png"]])
@pytest.mark.parametrize("probed", [b"", b"at the probe\r"])
def test_what_is_typed_while_the_chat_starts_leaves_the_first_question_alone(
    home: Path, flags: list[str], probed: bytes
) -> None:
    asked = [
        "what is this?",
        "and the colour?",
        *(["at the probe"] if probed and flags == ["--image", "circle.png"] else []),
    ]
    with Chat() as chat:
        chat.ahead = probed
        chat.type(b"/stats\nand the colour?\n")
        chat.echo("what is this?", *flags, PIXTRAL_PREVIEW="1")
        chat.until(lambda: chat.text.endswith(f"\n{asked[-1]}\n\n>\n"), "the last answer")
        assert "takes no words" not in chat.text
        assert "> what is this?\n" in chat.text
        chat.end()
    assert questions(home) == asked
    assert len(saved(home).messages[0].images) == len(flags[-1:])


@pytest.mark.parametrize("flags", [[], ["--plain"]])
@pytest.mark.parametrize("question", ["two\nlines", "a\ttab", "/no command", " circle.png what?"])
def test_a_first_question_is_asked_as_it_was_given(home: Path, flags: list[str], question: str) -> None:
    with Chat() as chat:
        chat.echo(question, *flags)
        if question.startswith("/"):
            chat.until(lambda: "no command /no" in chat.text and chat.text.endswith("\n>\n"), "the prompt")
            chat.end()
            return
        wanted = question.split("what")[0].replace("circle.png", "").strip() or "what?"
        chat.until(lambda: wanted.split()[-1] in chat.text and chat.text.endswith("\n\n>\n"), "the answer")
        chat.end()
    assert questions(home) == [question.replace("circle.png", "").strip()]


@pytest.mark.parametrize("flags", [[], ["--plain"]])
def test_lines_entered_during_an_answer_are_entered_one_after_the_other(home: Path, flags: list[str]) -> None:
    with Chat() as chat:
        chat.echo(*flags, PAUSE="0.1")
        chat.type(f"{LONG}\r".encode())
        chat.wait_for("word3" if flags else "Ctrl-C stops")
        for line in ("hello one", "/stats", "hello two"):
            chat.type(line.encode() + b"\r")
            chat.wait_for(line)
            time.sleep(0.5)  # as nobody types faster
        chat.until(lambda: chat.text.endswith("\nhello two\n\n>\n"), "the last answer")
        assert "tokens" in chat.text  # of /stats
        chat.end()
    assert questions(home) == [LONG, "hello one", "hello two"]


def test_lines_that_wait_are_seen_below_each_answer() -> None:
    with Chat() as chat:
        chat.echo(PAUSE="0.1")
        chat.type(f"{LONG}\r".encode())
        chat.wait_for("Ctrl-C stops")
        chat.type(LONG.replace("word", "next").encode() + b"\r")
        chat.wait_for("sent after the answer")
        chat.type(b"the last one\r")
        chat.wait_for("> the last one")
        chat.until(
            lambda: "\nnext0 next1" in chat.text and chat.text.endswith("\n> the last one\n"), "the line that waits"
        )
        chat.until(lambda: chat.text.endswith("\nthe last one\n\n>\n"), "its answer")
        chat.end()


def test_leaving_after_lines_that_wait_is_not_forgotten(home: Path) -> None:
    with Chat() as chat:
        chat.echo(PAUSE="0.1")
        chat.type(f"{LONG}\r".encode())
        chat.wait_for("Ctrl-C stops")
        chat.type(b"the last one\r")
        chat.wait_for("sent after the answer")
        chat.end()
    assert questions(home) == [LONG, "the last one"]
