"""`pixtral chat` in a terminal, as a person sees it: transcripts on the demo model, and all else on an engine that repeats."""

import contextlib
import os
import re
import sys
from pathlib import Path

import pytest

from tests.cli.calling import pixtral
from tests.terminal.repl.chatting import ROOT, Chat, draw_pair, draw_pictures, saved


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw_pictures(tmp_path)
    return tmp_path


CIRCLE, SQUARE = ("circle", "red", "circle.png"), ("square", "blue", "'my square.png'")


@pytest.mark.parametrize(
    ("first", "second"), [(CIRCLE, SQUARE), (SQUARE, CIRCLE)], ids=["circle first", "square first"]
)
def test_two_pictures_are_distinguished_over_an_undo_and_a_new_process(
    first: tuple[str, str, str], second: tuple[str, str, str]
) -> None:
    (shape, colour, picture), (other, its_colour, its_picture) = first, second
    both = f"first image shows a {colour} {shape}, the second image shows a {its_colour} {other}."
    with Chat(columns=120) as chat:
        chat.start()
        chat.say(f"{picture} What color is the {shape}?", f"The {shape} is {colour}.")
        chat.say(f"How many {shape}s are there?", "One.")
        chat.say("/stats", "reused")
        reused = re.search(r"([\d,]+) reused", "\n".join(chat.lines))
        assert reused and int(reused[1].replace(",", "")) > 50  # the picture of turn 1 was not computed again
        chat.say(f"{its_picture} What color is the {other}?", f"The {other} is {its_colour}.")
        chat.say("Compare the images.", both)
        chat.say("/undo", "Taken back: Compare the images.")
        chat.say("How do the images differ?", both)
        chat.end()
    with Chat(columns=120) as chat:
        chat.start("--continue")
        assert "> How do the images differ?" in chat.lines
        chat.say("Compare the images.", both)
        chat.say(f"#2 What color is the {other}?", f"The {other} is {its_colour}.")
        chat.end()


@pytest.mark.parametrize(("left", "right"), [("red circle", "blue square"), ("blue square", "red circle")])
def test_which_is_left_of_which_over_an_undo_and_a_new_process(folder: Path, left: str, right: str) -> None:
    draw_pair(folder / "pair.png", left, right)
    with Chat(columns=120) as chat:
        chat.start()
        chat.say("pair.png How many shapes are there?", "Two.")
        chat.say(f"Is the {left} to the left of the {right}?", "Yes.")
        chat.say("/undo", "Taken back: Is the")
        chat.say(f"Is the {right} to the left of the {left}?", "No.")
        chat.end()
    with Chat(columns=120) as chat:
        chat.start("--continue")
        chat.say(f"What is to the left of the {right}?", f"A {left}.")
        chat.end()


def test_what_is_typed_during_an_answer_leaves_it_whole_and_is_asked_next() -> None:
    with Chat() as chat:
        chat.echo(PAUSE="0.2")
        chat.type(b"one two three four five\r")
        chat.until(lambda: "\none two" in chat.text, "the answer")
        chat.type(b"typed ahead\r")
        chat.until(lambda: chat.text.endswith("> typed ahead\ntyped ahead\n\n>\n"), "the second answer")
        assert "\none two three four five\n" in chat.text
        chat.end()


@pytest.mark.parametrize("preview", ["0", "1"])
def test_what_is_typed_before_the_prompt_is_there_follows_the_question_of_the_command_line(
    folder: Path, preview: str
) -> None:
    with Chat() as chat:
        chat.at_once = b"and the colour?\r/exit now\rthird\r"
        chat.echo("first one", "--image", str(folder / "circle.png"), PIXTRAL_PREVIEW=preview, LOAD="1")
        chat.until(lambda: chat.text.endswith("> third\nthird\n\n>\n"), "the last answer")
        entered = [line for line in chat.text.split("\n") if line.startswith("> ")]
        assert entered == ["> first one", "> and the colour?", "> /exit now", "> third"]
        chat.end()


def test_it_is_shown_how_far_the_model_is_loaded() -> None:
    with Chat() as chat:
        chat.echo(LOAD="600", PART="0.43")
        chat.wait_for("loading demo 43%, ")
        chat.type(b"what?\r")
        chat.wait_for("loading demo 43%; your question waits, ")
        chat.type(b"\x03")
        chat.until(lambda: "/regen asks it again" in chat.text, "the note")
        assert "waits" not in chat.text
        chat.end()


@pytest.mark.parametrize(("flags", "env"), [(["--plain"], {}), ([], {"TERM": "dumb"}), (["--plain"], {"TERM": "dumb"})])
def test_a_plain_chat_draws_nothing(home: Path, flags: list[str], env: dict[str, str]) -> None:
    with Chat() as chat:
        chat.echo(*flags, **env)
        chat.say("circle.png what?", "what?")
        chat.type(b"two\rlines with circle.png\r")
        chat.until(lambda: chat.text.endswith("\ntwo\nlines with circle.png\n\n>\n"), "the answer")
        chat.type(b'"""one\r')
        chat.until(lambda: chat.text.endswith("\n.\n"), "the mark of a further line")
        chat.type(b'more"""\r')
        chat.until(lambda: chat.text.endswith("\none\nmore\n\n>\n"), "the answer")
        chat.end()
    assert b"\x1b" not in chat.raw.replace(b"\x1b[?2004h", b"").replace(b"\x1b[?2004l", b"")
    assert [len(message.images) for message in saved(home).messages] == [1, 0, 0, 0, 0, 0]


def test_ctrl_c_and_ctrl_d_in_a_plain_chat_end_their_line() -> None:
    with Chat() as chat:
        chat.echo("--plain")
        for _ in range(5):  # readline misses one that comes just before it begins to wait
            chat.type(b"\x03")
            with contextlib.suppress(AssertionError):
                chat.until(lambda: chat.text.endswith("\nCtrl-D or /bye leaves.\n>\n"), "the hint", 10)
                break
        else:
            raise AssertionError("Ctrl-C was not heard")
        chat.end()
        chat.until(lambda: chat.raw.endswith(b"> \r\n"), "the end of the line")


@pytest.mark.parametrize(("env", "keys"), [({}, b"\x01\x06i\r"), ({"TERM": "dumb"}, b"circle.png what?\r")])
def test_a_line_can_be_mended_in_a_plain_chat(home: Path, env: dict[str, str], keys: bytes) -> None:
    with Chat() as chat:
        chat.echo("--plain", **env)
        chat.type(b"crcle.png what?\r")
        chat.until(lambda: chat.text.count("crcle.png what?") == 2 and "no such file" in chat.text, "the line again")
        chat.type(keys)
        chat.until(lambda: chat.text.endswith("\nwhat?\n\n>\n"), "the answer")
        chat.end()
    assert len(saved(home).messages[0].images) == 1


def test_without_colours_nothing_is_coloured() -> None:
    with Chat() as chat:
        chat.echo(NO_COLOR="1")
        chat.type(b"/nonsense\r")
        chat.wait_for("no command")
        chat.end(keys=b"\x15\x04")
    assert not re.findall(rb"\x1b\[[\d;]*[34]\d[\d;]*m", chat.raw)


def test_keys_typed_while_the_terminal_is_asked_what_it_can_draw_are_not_swallowed() -> None:
    with Chat() as chat:
        chat.echo(PIXTRAL_PREVIEW="1")
        chat.ahead = b"typed ahead\r"
        chat.type(b"circle.png\r")
        chat.until(lambda: chat.text.endswith("\ntyped ahead\n\n>\n"), "the answer")
        chat.end()
    assert "▀▀▀▀" in "\n".join(chat.lines)


@pytest.mark.parametrize(
    ("does", "asked"),
    [
        ('cp "$1" was; printf "from the\\neditor\\n" > "$1"', "from the\neditor"),
        ("echo broken; exit 1", "first words"),
    ],
)
def test_ctrl_g_opens_the_line_in_the_editor(folder: Path, home: Path, does: str, asked: str) -> None:
    editor = folder / "editor"
    editor.write_text(f"#!/bin/sh\n{does}\n")
    editor.chmod(0o755)
    with Chat() as chat:
        chat.echo(VISUAL=str(editor))
        chat.type(b"first words\x07")
        told, line = ("", "> from the") if "printf" in does else ("Nothing was taken", "> first words")
        chat.until(lambda: line in chat.text.partition(told or "\n")[2], "the line")
        chat.type(b"\r")
        chat.until(lambda: chat.text.endswith(f"\n{asked}\n\n>\n"), "the answer")
        chat.end()
    assert saved(home).messages[0].text == asked
    assert "printf" not in does or (folder / "was").read_text() == "first words"


def test_pictures_are_drawn_where_the_terminal_says_how() -> None:
    with Chat() as chat:
        chat.kitty = True
        chat.echo(PIXTRAL_PREVIEW="1")
        chat.say("circle.png what?", "what?")
        chat.end()
    assert b"\x1b_Ga=T,f=100,q=2," in chat.raw


def test_a_chat_without_a_terminal_to_type_in_is_a_usage_error() -> None:
    done = pixtral("chat", stdin=b"hello\n")
    assert done.status == 2
    assert done.stdout == ""
    assert (
        done.stderr == 'pixtral: `pixtral chat` needs a terminal to type in. For pipes and scripts: pixtral ask "…"\n'
    )


def test_answers_go_to_stdout_and_the_rest_to_the_terminal(folder: Path) -> None:
    with Chat() as chat, (folder / "answers.txt").open("wb") as file:
        chat.stdout = file
        chat.echo()
        chat.type(b"hello\r")
        chat.type(b"\x04")
        assert chat.process.wait(120) == 0
    assert (folder / "answers.txt").read_text() == "hello \n"


def test_nothing_heavy_is_loaded_before_the_prompt() -> None:
    code = (
        "import sys\n"
        "from pixtral_cli.terminal.repl import prompt\n"
        "def read(*args, **options):\n"
        "    print(*sys.modules, file=open('modules', 'w'))\n"
        "    raise EOFError\n"
        "prompt.Prompt.read = read\n"
        "from pixtral_cli.__main__ import main\n"
        "main(['chat'])\n"
    )
    with Chat() as chat:
        process = chat.run(sys.executable, "-c", code, env={**os.environ, "TERM": "xterm", "PYTHONPATH": str(ROOT)})
        assert process.wait(120) == 0
    loaded = {name.split(".")[0] for name in Path("modules").read_text().split()}
    assert "prompt_toolkit" in loaded
    assert not loaded & {
        "torch",
        "numpy",
        "PIL",
        "rich",
        "mistral_common",
        "mistral_inference",
        "huggingface_hub",
        "httpx2",
        "sqlite3",
        "tomllib",
    }
