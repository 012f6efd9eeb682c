"""Torture G in the REPL, on a pseudo-terminal: what is shown is what was said, what was done is kept.

The page's part of 63 to 67 and 73 to 75 is in tests/server/page: test_answer, test_versions, test_kept, test_pictures, test_panel.
"""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.terminal.repl.chatting import Chat, draw_pictures, saved

MODULE = "tests.torture.answering"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw_pictures(tmp_path)
    return tmp_path


def begin(chat: Chat, answers: list[str], **env: str) -> None:
    chat.start("chat", module=MODULE, ANSWERS=json.dumps(answers), **env)


def answer_to(chat: Chat, line: str) -> str:
    """What stands between a line that was typed last and the next prompt, without its blank edges."""
    asked = f"> {line}\n"
    chat.type(line.encode() + b"\r")
    chat.until(lambda: asked in chat.text and "\n>" in chat.text.rpartition(asked)[2], f"the answer to {line}")
    return chat.text.rpartition(asked)[2].partition("\n>")[0].strip("\n")


SHORT = ["10.", "2024.", "7. 8. 9.", "1)", "-", "+", "#", ">", "```\n```"]
LITERAL = [
    "vector<int>", "a<b and c>d", "<center>", "5*3*2", "__init__", "C:\\_dir\\*.txt", "\\(x^2\\)", "&lt;b&gt;",
]  # fmt: skip


@pytest.mark.parametrize("columns", [20, 80])
def test_63_short_answers_and_64_characters_are_on_the_screen_as_written(columns: int) -> None:
    with Chat(columns) as chat:
        begin(chat, [*SHORT, *LITERAL])
        for number, said in enumerate([*SHORT, *LITERAL]):
            shown = answer_to(chat, f"q{number}")
            assert "".join(shown.split()).startswith("".join(said.split())), (said, shown)
        chat.end()


TABLE = "| item | price |\n|---|---:|\n| a rather long name of a thing | 13,200 |\n| b | 7 |\n"
STEPS = "7. seven\n8. eight\n\n```sh\nls\n```\n\n9. nine\n"


@pytest.mark.parametrize("columns", [20, 80])
def test_65_lists_count_as_written_boxes_differ_and_no_number_is_broken(columns: int) -> None:
    with Chat(columns, 50) as chat:
        begin(chat, [STEPS, "- [x] done\n- [ ] open\n", TABLE])
        steps = answer_to(chat, "steps")
        assert all(mark in steps for mark in ("7", "8", "9", "seven", "ls"))
        done, left = (line for line in answer_to(chat, "boxes").split("\n")[:2])
        assert done.replace("done", "") != left.replace("open", "")
        assert "13,200" in answer_to(chat, "table")
        chat.end()


def test_66_two_thousand_marks_open_and_the_next_question_is_answered(home: Path) -> None:
    for marks in (">" * 2000 + " deep", "*" * 2000):
        with Chat() as chat:
            begin(chat, [marks, "Fine."])
            chat.type(b"nest\r")
            chat.until(lambda: chat.text.rstrip("\n").endswith("\n>"), "the prompt")
            chat.end()
        with Chat() as chat:
            chat.start("chat", "-c", module=MODULE, ANSWERS='["Fine."]')
            assert answer_to(chat, "and now?").startswith("Fine.")
            chat.end()
        assert saved(home).messages[1].text == marks


@pytest.mark.parametrize("how", ["ctrl-c", "kill"])
@pytest.mark.parametrize("second", ["wait", "the new wait"], ids=["before its first word", "in the middle"])
def test_67_a_new_try_that_is_stopped_leaves_the_finished_answer(home: Path, how: str, second: str) -> None:
    with Chat() as chat:
        begin(chat, ["The whole answer.", second])
        answer_to(chat, "what?")
        chat.type(b"/regen\r")
        if second == "wait":
            chat.wait_for("Ctrl-C stops")
        else:
            chat.wait_for("the new")
        if how == "kill":
            os.kill(chat.process.pid, signal.SIGKILL)
            chat.process.wait(60)
        else:
            chat.type(b"\x03")
            chat.wait_for("Stopped.")
            chat.end()
    assert saved(home).messages[-1].text == "The whole answer."
    with Chat() as chat:
        chat.start("chat", "-c", module=MODULE, ANSWERS="[]")
        # The prompt itself: what was asked before stands behind a mark like its own.
        chat.until(lambda: "\n>" in chat.text.partition("The whole answer.")[2], "the prompt")
        assert "The whole answer." in chat.text
        chat.end()


def test_76_three_lines_pasted_while_an_answer_streams_are_one_draft(home: Path) -> None:
    with Chat() as chat:
        begin(chat, ["one two three four five six", "Second."], PAUSE="0.5")
        chat.type(b"go\r")
        chat.wait_for("one two")
        chat.type(b"\x1b[200~first line\nsecond line\nthird line\x1b[201~")
        chat.until(lambda: "five six\n" in chat.text and "third line" in chat.text.rpartition("\n>")[2], "the draft")
        chat.type(b"\r")
        chat.wait_for("Second.")
        chat.end()
    assert [message.text for message in saved(home).messages[2:]] == ["first line\nsecond line\nthird line", "Second."]
