"""Torture G in the shell: a question that was stopped, inputs, half answers, two at once, removals, keys.

72 is in tests/engines/remote/test_keys.py too, 77 and 78 in tests/images/test_rare_formats.py, 79 in tests/engines/local
(test_prequantized, test_config), 80 in tests/server/openai.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli import config
from pixtral_cli.chat.message import assistant, user
from pixtral_cli.sessions.library import Sessions
from tests.cli.calling import pixtral
from tests.terminal.emulator import Terminal
from tests.terminal.repl.chatting import ROOT, draw_pictures, saved
from tests.torture.pictures import corners, encoded
from tests.torture.test_g_chat import LITERAL, SHORT

COMMAND = [sys.executable, "-m", "tests.torture.answering", "ask"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    draw_pictures(tmp_path)
    return tmp_path


def begun(answers: list[str], *words: str, **options: Any) -> subprocess.Popen[str]:
    """`pixtral ask WORDS…` with these answers, on its way."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "ANSWERS": json.dumps(answers), **options}
    return subprocess.Popen([*COMMAND, *words], text=True, env=environment, **streams)  # type: ignore[call-overload, no-any-return]


def ask(answers: list[str], *words: str) -> tuple[int, str, str]:
    process = begun(answers, *words)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("said", "columns"), [(said, (20, 80)[number % 2]) for number, said in enumerate([*SHORT, *LITERAL])]
)
def test_63_and_64_an_answer_of_ask_is_on_the_terminal_as_written(said: str, columns: int) -> None:
    with Terminal(columns) as terminal:
        environment = {**os.environ, "ANSWERS": json.dumps([said]), "TERM": "xterm-256color"}
        process = terminal.run(*COMMAND, "-q", "what?", env=environment)
        assert process.wait(240) == 0
        terminal.wait_for(said.split()[-1])
        shown = "".join(" ".join(terminal.lines).split())
    assert shown == "".join(said.split())


def test_64_raw_renders_nothing() -> None:
    said = "# Title\n\n* **bold** `code`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<b>&amp;</b>"
    with Terminal(80) as terminal:
        environment = {**os.environ, "ANSWERS": json.dumps([said]), "TERM": "xterm-256color"}
        process = terminal.run(*COMMAND, "-q", "--raw", "what?", env=environment)
        assert process.wait(240) == 0
        terminal.wait_for("</b>")
        assert terminal.lines == said.split("\n")


def test_68_a_question_that_ctrl_c_stopped_is_there_with_its_picture(home: Path) -> None:
    process = begun(["one two wait"], "--image", "circle.png", "what is this?", "--no-stream")
    sessions = Sessions(config.paths().data)
    while not sessions.list():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    status, out, err = ask([], "go on", "-c")
    # One message where it was stopped before the first word: the two questions are asked together.
    assert (status, out in ("3 messages, 1 pictures\n", "1 messages, 1 pictures\n")) == (0, True), (out, err)
    said = saved(home).messages
    assert (said[0].text, said[0].images[0].name) == ("what is this?", "circle.png")


@pytest.mark.parametrize("spelling", ["./circle.png", "hard.png", "soft.png", "$PWD/circle.png"])
def test_69_a_picture_that_is_asked_about_is_not_written_over(folder: Path, spelling: str) -> None:
    (folder / "hard.png").hardlink_to(folder / "circle.png")
    (folder / "soft.png").symlink_to(folder / "circle.png")
    before = (folder / "circle.png").read_bytes()
    status, out, err = ask(["words"], "what?", "--image", "circle.png", "-o", spelling.replace("$PWD", str(folder)))
    assert (status, out) == (2, "")
    assert "would be written over" in err
    assert (folder / "circle.png").read_bytes() == before
    assert (folder / "soft.png").is_symlink()


def test_69_a_schema_and_a_text_file_are_not_written_over(folder: Path) -> None:
    (folder / "s.json").write_text('{"type": "object"}')
    (folder / "notes.md").write_text("notes")
    for words in (["--schema", "s.json", "-o", "./s.json"], ["-f", "notes.md", "-o", "notes.md"]):
        assert ask(["{}"], "what?", *words)[0] == 2
    assert ((folder / "s.json").read_text(), (folder / "notes.md").read_text()) == ('{"type": "object"}', "notes")


def test_69_a_picture_that_is_watched_is_not_written_over(folder: Path) -> None:
    before = (folder / "circle.png").read_bytes()
    assert ask(["words"], "what?", "--image", "circle.png", "--watch", "-o", "circle.png")[0] == 2
    assert (folder / "circle.png").read_bytes() == before


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "heavy PNG"])
def test_69_a_transcript_does_not_replace_a_picture(folder: Path, kind: str) -> None:
    picture = folder / "talked-about"
    content = encoded(corners(), kind.removeprefix("heavy ")) + bytes(25_000_000 * kind.startswith("heavy"))
    picture.write_bytes(content)
    with Sessions(config.paths().data).add([user("what is this?"), assistant("A circle.")]) as session:
        name = session.id
    for words in (["--format", "md", "-o", str(picture)], ["--format", "json", "-o", "./talked-about"]):
        refused = pixtral("sessions", "export", name, *words)
        assert (refused.status, "would be written over" in refused.stderr) == (2, True)
    assert picture.read_bytes() == content
    assert pixtral("sessions", "export", name, "-o", "talk.md").status == 0


def test_70_a_block_that_was_cut_off_leaves_the_old_file_and_ends_with_status_1(folder: Path) -> None:
    page = folder / "page.html"
    page.write_text("<p>whole</p>")
    status, out, err = ask(["Here:\n```html\n<p>halfCUT"], "a page", "-x", "html", "-o", "page.html")
    assert (status, out, page.read_text()) == (1, "", "<p>whole</p>")
    assert "The answer was cut off within the code block: page.html was not written" in err
    assert "<p>half" in err  # what came is not lost
    assert ask(["```html\n<p>all</p>\n```\nand moreCUT"], "a page", "-x", "html", "-o", "page.html")[0] == 0
    assert page.read_text() == "<p>all</p>\n"  # the block itself was whole


def test_71_minutes_are_no_age_and_a_folder_of_others_is_no_model_of_ours(folder: Path) -> None:
    ask(["well"], "hello")
    refused = pixtral("sessions", "prune", "--older-than", "6m", "--yes")
    assert refused.status == 2
    assert "months" in refused.stderr
    assert len(Sessions(config.paths().data).list()) == 1
    theirs = folder / "theirs"
    theirs.mkdir()
    for name in ("params.json", "consolidated.safetensors", "tekken.json"):
        (theirs / name).write_text("{}")
    assert pixtral("models", "rm", str(theirs), "--yes").status != 0
    assert len(list(theirs.iterdir())) == 3


def test_two_questions_at_once_go_on_with_the_newest_and_its_copy_which_quiet_does_not_hide() -> None:
    ask(["well"], "first")
    sessions = Sessions(config.paths().data)
    (first,) = sessions.list()
    one = begun(["one two wait"], "-c", "-q", "slow?")
    while sessions.list()[0].messages < 3:
        assert one.poll() is None
        time.sleep(0.05)
    status, out, err = ask(["quick"], "-c", "-q", "quick?", "--json")
    copied = re.search(rf"Session {first.id} is open in process {one.pid}: this is a copy of it, (\w+)", err)
    assert status == 0
    assert copied, err
    assert json.loads(out)["session"] == copied[1]
    one.send_signal(signal.SIGINT)
    one.communicate(timeout=120)
    texts = {entry.id: [message.text for message in sessions.load(entry.id).messages] for entry in sessions.list()}
    assert texts[first.id][:3] == ["first", "well", "slow?"]
    assert texts[copied[1]][-2:] == ["quick?", "quick"]
    assert "quick?" not in texts[first.id]
