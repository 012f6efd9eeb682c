"""Torture D in the REPL: Ctrl-C at any moment, a terminal that closes, windows of any size."""

import os
import signal
import termios
from pathlib import Path

import pytest

from tests.terminal.repl.chatting import Chat, draw_pictures, saved


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw_pictures(tmp_path)
    return tmp_path


def test_51_ctrl_c_stops_at_once_and_the_part_is_kept(home: Path) -> None:
    with Chat() as chat:
        chat.echo()
        chat.type(b"one two wait three\r")
        chat.until(lambda: "\none two" in chat.text, "the answer")
        chat.type(b"\x03")
        chat.until(lambda: "The part above is kept." in chat.text, "the note")
        chat.type(b"one more wait answer\r")
        chat.until(lambda: "\none more" in chat.text, "the answer")
        chat.type(b"\x03\x03\x03\x03\x03")
        chat.until(lambda: chat.text.count("The part above is kept.") == 2, "the note")
        chat.say("again", "again")
        chat.end()
    question, answer, *_ = saved(home).messages
    assert answer.interrupted
    assert question.text.startswith(answer.text.strip())


def test_51_ctrl_c_while_the_model_loads_keeps_the_question_and_leaving_does_not_wait(home: Path) -> None:
    with Chat() as chat:
        chat.echo(LOAD="600")
        chat.type(b"circle.png what?\r")
        chat.wait_for("; your question waits, ")
        chat.type(b"\x03")
        chat.until(lambda: "/regen asks it again" in chat.text, "the note")
        chat.end()
    [question] = saved(home).messages
    assert question.text.strip() == "what?"
    assert len(question.images) == 1


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("answering", [False, True])
def test_52_a_signal_saves_the_session_and_leaves_the_terminal_as_it_was(
    home: Path, signum: signal.Signals, status: int, answering: bool
) -> None:
    with Chat() as chat:
        before = termios.tcgetattr(chat.descriptor)
        chat.echo()
        chat.type(b"one two wait three\r" if answering else b"one two three\r")
        chat.until(lambda: ("\none two" if answering else "two three\n\n>") in chat.text, "the answer")
        chat.process.send_signal(signum)
        assert chat.process.wait(120) == status
        assert termios.tcgetattr(chat.descriptor) == before
        assert "Traceback" not in "\n".join(chat.lines)
    _, answer = saved(home).messages
    assert answer.text.startswith("one two")
    assert answer.interrupted == answering


def test_52_a_window_that_changes_its_size_leaves_no_garbage() -> None:
    with Chat() as chat:
        chat.echo()
        line = b"a rather long question that no small window holds in a line"
        chat.type(line)
        chat.wait_for("in a line")
        for columns, rows in ((20, 10), (60, 24), (33, 8), (80, 24)):
            chat.resize(columns, rows)
            chat.screen.resize(rows, columns)
            os.killpg(chat.process.pid, signal.SIGWINCH)
        chat.type(b"\r")
        chat.until(lambda: chat.text.count("in a line\n") == 2, "the answer")
        chat.end()
    [question, answer] = saved(Path(os.environ["HOME"])).messages
    assert question.text == answer.text.strip() == line.decode()


@pytest.mark.parametrize("columns", [20, 80])
def test_52_everything_fits_windows_wide_and_narrow(columns: int) -> None:
    with Chat(columns, 24) as chat:
        chat.echo()
        chat.type(b"/help\r")
        chat.wait_for("/help COMMAND")
        chat.type("circle.png was für 猫?\r".encode())
        chat.until(lambda: "was für 猫?\n\n>" in chat.text, "the answer")
        assert "#1 circle.png" in "\n".join(chat.lines)
        chat.end()
