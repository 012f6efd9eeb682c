"""What the REPL shows at 100, 80, 40 and 20 columns, item by item: no word is cut, nothing shown is untrue.

One chat a width goes through all of it; its engine repeats what it is asked.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image as PIL

from pixtral_cli.sessions.library import Sessions
from tests.fakes import FakeEngine
from tests.terminal.emulator import Terminal
from tests.terminal.repl.chatting import ROOT
from tests.terminal.repl.transcript import BEGIN_PASTE, CLEAR, END_PASTE, Transcript

WIDTHS = [80, 20, pytest.param(100, marks=pytest.mark.slow), pytest.param(40, marks=pytest.mark.slow)]
EACH_WIDTH = pytest.mark.parametrize("columns", WIDTHS)
LONG = " ".join(f"word{number}" for number in range(100))


def make_files(folder: Path) -> None:
    """Pictures of different colours, a broken one, a page that is called one, a text, and folders of pictures."""
    names = ["red.png", "blue.png", "pics/bars.png", "pics/old/scan.png", "mix/one.png", "mix/two.png"]
    for number, name in enumerate([*names, *(f"many/p{number}.png" for number in range(1, 13))]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.new("RGB", (32, 16), (number * 9, 200, 0)).save(folder / name)
    (folder / "mix" / "bad.png").write_text("<html>")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (folder / "notes.md").write_text("# Notes\n")


@contextlib.contextmanager
def chatting(folder: Path, columns: int, *flags: str, **env: str) -> Iterator[Transcript]:
    """A chat in a folder of its own, which its home is in too. It must leave no traceback, and end when it is told to."""
    with Transcript(columns) as chat:
        chat.folder, chat.drawn = folder, "--plain" not in flags and env.get("TERM") != "dumb"
        chat.echo(*flags, **home_in(folder), **env)
        yield chat
        assert "Traceback" not in "\n".join(chat.lines)
        if chat.process.poll() is None:
            chat.end(keys=CLEAR + b"\x04" if chat.drawn else b"\x04")


def home_in(folder: Path) -> dict[str, str]:
    homes = {"HOME": str(folder), "PIXTRAL_HOME": str(folder / "home"), "HF_HOME": str(folder / "hf")}
    return {**homes, **dict.fromkeys(("PIXTRAL_MODEL", "DISPLAY", "WAYLAND_DISPLAY", "TMUX", "NO_COLOR"), "")}


@pytest.fixture(scope="module", params=WIDTHS)
def chat(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transcript]:
    folder = tmp_path_factory.mktemp("chat")
    make_files(folder)
    with chatting(folder, request.param) as chat:
        yield chat


# What Enter does


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("what is red.png ?", "Enter attaches red.png"), ("what is ./none.png ?", "none.png is not here"),
        ("what is broken.png ?", "broken.png is no picture that can be read"), ("@notes.md short?", "Enter attaches notes.md"),
        ("@many what?", "Enter attaches 12 pictures of many"), ("@pics/none.md what?", ""),
        ("How do I convert photo.png to jpeg?", ""), ("what is in notes.md ?", ""), ("`red.png` is what?", ""),
    ],
)  # fmt: skip
def test_the_toolbar_says_what_enter_does(chat: Transcript, line: str, told: str) -> None:
    toolbar = chat.hold(line, told)
    assert told or not any(word in toolbar for word in ("attaches", "is not", "is no"))


def test_the_context_used_stands_in_the_toolbar(chat: Transcript) -> None:
    chat.say("one two three", "one two three")
    assert "of 1,000" in chat.toolbar
    assert "of 1,000" in chat.hold("half a question")


def test_a_picture_that_is_sent_again_shows_its_price_before(chat: Transcript) -> None:
    chat.say("/clear", "A new conversation begins.")
    assert "10 tokens" in chat.say("red.png what is this?", "what is this?")
    chat.hold("and #1 once more", "#1 again, 10 tokens")
    assert "again" not in chat.hold("and #7 once more")


# Pastes


def test_a_paste_of_paths_attaches_them_and_one_of_words_does_not(chat: Transcript) -> None:
    chat.say("/clear", "A new conversation begins.")
    assert "2 pictures" not in chat.hold(
        f"{BEGIN_PASTE}red.png\rblue.png{END_PASTE}", "Enter attaches red.png, blue.png"
    )
    said = chat.say(f"{BEGIN_PASTE}red.png\rblue.png{END_PASTE}", "tokens left")
    assert "#1 red.png" in said
    assert "#2 blue.png" in said
    assert "attaches" not in chat.hold(f"{BEGIN_PASTE}see\rred.png\rbelow{END_PASTE} thanks")
    said = chat.say(f"{BEGIN_PASTE}see\rred.png\rbelow{END_PASTE}", "see red.png below")
    assert "pasted text attaches nothing: red.png" in said
    chat.say("/drop all")


def test_a_paste_of_500_lines_is_one_line_until_it_is_sent(chat: Transcript) -> None:
    block = "\r".join(f"row{number}" for number in range(500))
    chat.hold(f"{BEGIN_PASTE}{block}{END_PASTE}")
    chat.until(lambda: "[500 lines pasted]" in chat.shown, "the folded paste")
    assert "row1" not in chat.shown
    chat.type(b"\r")
    chat.until(lambda: "row499" in chat.shown and chat.at_prompt, "all of its lines")
    chat.say("/undo", "Taken back")


# Files


def test_tab_goes_down_into_folders_and_finds_by_a_part_of_the_name(chat: Transcript) -> None:
    chat.begin()
    chat.type(b"@pi\t")
    chat.until(lambda: "> @pics/" in chat.shown, "the folder")
    for _ in range(10):  # the search is bounded in time, and the machine may be busy
        chat.begin()
        chat.type(b"@bars\t")
        with contextlib.suppress(AssertionError):
            chat.until(lambda: "> @pics/bars.png" in chat.shown, "the picture", 5)
            break
    else:
        raise AssertionError("it was not found")


def test_a_text_file_goes_with_its_name_and_its_tokens(chat: Transcript) -> None:
    said = chat.say("@notes.md short?", "short?")
    assert "notes.md: 1 line, 4 tokens" in said
    assert "# Notes" in said


def test_of_a_pattern_the_good_ones_are_attached_and_the_bad_named(chat: Transcript) -> None:
    chat.say("/clear", "A new conversation begins.")
    said = chat.say("/image mix/*.png", "tokens left")
    assert "mix/bad.png: looks like HTML" in said
    assert "#1 one.png" in said
    assert "#2 two.png" in said
    assert "2 images attached" in chat.toolbar
    said = chat.say("/drop 1-2", "#2 two.png is out.")
    assert "#1 one.png is out." in said
    assert "attached" not in chat.toolbar
    chat.say("/image mix/one.png mix/two.png", "tokens left")
    chat.say("/drop all", "is out.")
    assert "attached" not in chat.toolbar


def test_a_folder_of_many_is_asked_about(chat: Transcript) -> None:
    chat.begin()
    chat.type(b"@many what?\r")
    chat.until(lambda: "Attach all 12 pictures of many? y or n" in chat.shown, "the question")
    chat.type(b"n\r")
    chat.until(lambda: "Nothing was attached. Name those that matter: @many/p1.png" in chat.shown, "the note")


def test_a_file_name_in_a_question_does_not_hold_it_up(chat: Transcript) -> None:
    said = chat.say("How do I convert photo.png to jpeg?", "photo.png to jpeg?")
    assert "photo.png is not here: sent as text" in said
    chat.begin()
    chat.type(b"what is ./none.png ?\r")
    chat.until(lambda: "In `backticks` a name is text > what is ./none.png" in chat.shown, "the line to be mended")
    assert "no such file or directory" in chat.shown


# Commands


def test_commands_are_understood_by_their_beginning_and_refused_with_words_too_many(chat: Transcript) -> None:
    assert "Begin with a space to send it as text" in chat.say("/clear up this picture", "/clear takes no words")
    assert "Begin with a space to send it as text" in chat.say("/xyz", "There is no command /xyz")
    assert "Did you mean /images?" in chat.say("/imagess", "There is no command")
    chat.say("/he", "/help COMMAND says what one does")


def test_help_is_seen_whole_with_the_prompt_below(chat: Transcript) -> None:
    from pixtral_cli.terminal.repl.commands.table import TABLE

    chat.say("/help", "/help COMMAND says what one does")
    lines = chat.lines
    assert len(lines) - max(place for place, line in enumerate(lines) if line == "> /help") <= 24 + 8
    screen = " ".join(" ".join(chat.screen.display).split()) if chat.screen.columns > 20 else chat.shown
    assert "> /help Pictures: /image" in screen
    assert all(f"/{row.name}" in screen for row in TABLE)
    assert all(f"{group}:" in screen for group in ("Pictures", "Conversation", "Settings", "Answers", "Others"))
    assert "Ctrl-G is your editor" in chat.say("/help keys", "Ctrl-D leaves")
    assert all(name in chat.say("/help set", "temperature") for name in ("seed", "stop", "markdown"))


def test_turns_are_taken_back_by_number_and_brought_back(chat: Transcript) -> None:
    chat.say("/clear", "A new conversation begins.")
    chat.say("first question", "first question first question")
    chat.say("second question", "second question second question")
    said = chat.say("/undo 2", "Taken back: first question")
    assert "Taken back: second question" in said
    chat.say("/redo 2", "Brought back: second question")


@pytest.mark.parametrize("word", ["off", "none", "default"])
def test_a_setting_is_undone_by_each_of_these_words(chat: Transcript, word: str) -> None:
    chat.say("/set stop END", "stop: 'END'")
    chat.say(f"/set stop {word}", "stop: none")
    chat.say("/system Be brief.", "System prompt: Be brief.")
    chat.say(f"/system {word}", "No system prompt.")


# Answers


def test_what_can_be_done_with_code_is_told_below_it_and_is_true(chat: Transcript) -> None:
    chat.say(f"{BEGIN_PASTE}```html\r<p>hi</p>\r```{END_PASTE}", "/save 1 · /open 1 · /copy 1")
    said = chat.say("/open 1", "the page is")
    assert "A browser shows no" not in said
    said = chat.say(f"{BEGIN_PASTE}```python\rx = 1\r```{END_PASTE}", "/save 1 · /copy 1")
    assert "/open" not in said


def test_copying_says_where_the_text_went(chat: Transcript) -> None:
    chat.say("seven", "seven seven")
    said = chat.say("/copy", "Sent 6 characters to the terminal, which may put it on the clipboard (OSC 52).")
    assert "Copied" not in said


def test_sessions_have_titles_and_tags_and_each_takes_one_line(chat: Transcript) -> None:
    chat.say("/clear", "A new conversation begins.")
    chat.say(
        "a question with so many words that no window of a hundred columns has room for all of them in a row", "row"
    )
    chat.say("/tag receipts", "Tags: #receipts")
    said = chat.say("/sessions", "/load ID goes on with one.")
    assert said.count("a question") == 1
    assert "…" in said
    chat.say("/rename Receipts", "Title: Receipts")
    assert "Receipts" in chat.say("/sessions", "/load ID goes on with one.")
    chat.begin()
    chat.type(b"/load\r")
    chat.until(lambda: "or an id; Enter: none" in chat.shown and chat.at_prompt, "the question")
    chat.type(b"\r")
    chat.until(lambda: "The conversation stays." in chat.shown, "the note")


def test_emoji_and_wide_characters_are_taken_back_whole(chat: Transcript) -> None:
    chat.say("日本語 👍 wide", "日本語 👍 wide")
    assert "日本" in chat.shown
    chat.begin()
    chat.type("日本".encode())
    chat.until(lambda: "> 日本" in chat.shown, "the line")
    chat.type(b"\x7f")
    chat.until(lambda: "> 日" in chat.shown and "本" not in chat.shown, "one character less")


# Chats of their own


@EACH_WIDTH
def test_while_an_answer_streams_a_draft_is_kept_and_the_toolbar_is_true(tmp_path: Path, columns: int) -> None:
    with chatting(tmp_path, columns, PAUSE="0.3") as chat:
        chat.begin()
        chat.type(LONG.encode() + b"\r")
        for told in ("Ctrl-C stops", "tokens/s", "of 1,000"):
            chat.until(lambda told=told: told in chat.shown, told)  # type: ignore[misc]
        chat.type(f"draft {BEGIN_PASTE}first\rsecond\rthird{END_PASTE}".encode())
        chat.until(lambda: "> draft first second third" in chat.shown, "the draft below the answer")
        chat.type(b"\r")
        chat.until(lambda: "sent after the answer" in chat.shown, "that it is sent")
        chat.type(b"\x7f\x03")
        chat.until(lambda: "Stopped. The part above is kept." in chat.shown, "the note")
        chat.until(lambda: "draft first second thir" in chat.shown.partition("Stopped.")[2], "the draft in the line")
        chat.type(b"\r")
        chat.until(
            lambda: chat.at_prompt and chat.shown.partition("Stopped.")[2].count("draft first second thir") == 2,
            "one answer",
        )


@EACH_WIDTH
def test_a_first_question_is_asked_at_once_and_exit_leaves(tmp_path: Path, columns: int) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.toml").write_text('[keys]\nnewline = "c-o"\n[theme]\nprompt = "bold red"\n')
    with chatting(tmp_path, columns, "first question") as chat:
        chat.until(lambda: "> first question first question" in chat.shown and chat.at_prompt, "the answer")
        assert chat.screen.buffer[chat.screen.cursor.y][0].fg == "red"
        assert "Ctrl-O makes a new line" in chat.say("/help keys", "Ctrl-D leaves")
        chat.say("exit and quit are words", "exit and quit are words exit and quit are words")
        chat.type(b"quit\r")
        assert chat.process.wait(120) == 0


@EACH_WIDTH
def test_the_program_alone_answers_a_question_about_a_picture(tmp_path: Path, columns: int) -> None:
    make_files(tmp_path)
    with Terminal(columns) as terminal:
        words = [
            "-m",
            "tests.terminal.repl.fake_chat",
            "What is in this picture, and why is it there?",
            "-a",
            "red.png",
            "-n",
        ]
        env = {**os.environ, **home_in(tmp_path), "TERM": "xterm", "PYTHONPATH": str(ROOT), "WHOLE": "1"}
        assert terminal.run(sys.executable, *words, cwd=tmp_path, env=env).wait(120) == 0
    assert " ".join(" ".join(terminal.lines).split()).endswith("What is in this picture, and why is it there?")


@EACH_WIDTH
@pytest.mark.parametrize("how", ["--plain", "dumb"])
def test_a_plain_chat_offers_no_key_that_does_nothing(tmp_path: Path, columns: int, how: str) -> None:
    make_files(tmp_path)
    flags, env = (["--plain"], {}) if how == "--plain" else ([], {"TERM": "dumb"})
    with chatting(tmp_path, columns, *flags, **env) as chat:
        said = chat.say("/help", "/help COMMAND says what one does") + chat.say("/help keys", "Ctrl-D leaves")
        assert not any(key in said for key in ("Ctrl-J", "Ctrl-G", "Ctrl-R", "Ctrl-V"))
        assert "10 tokens" in chat.say("red.png what?", "what?")
        assert "Begin with a space to send it as text" in chat.say("/clear up", "takes no words")
        assert b"\x1b" not in chat.raw.replace(b"\x1b[?2004h", b"").replace(b"\x1b[?2004l", b"")


@EACH_WIDTH
def test_going_on_asks_where_two_could_be_meant(tmp_path: Path, columns: int) -> None:
    titles = ["a long question about the receipts of May, June and July", "another long question, about cats and dogs"]
    made = []
    for title in titles:
        with Sessions(tmp_path / "home" / "data").start() as session:
            list(session.conversation().ask(FakeEngine(["well"]), title))
            made.append(session.id)
    with Sessions(tmp_path / "home" / "data").resume(made[0]) as session:
        list(session.conversation().ask(FakeEngine(["more"]), "and?"))
    chat = Transcript(columns)
    chat.type(b"2\r")
    with chat:
        chat.folder = tmp_path
        chat.echo("-c", **home_in(tmp_path))
        assert "Which one goes on? 1 to 2, Enter: 1" in chat.shown
        rows = [line for line in chat.lines if line[:3] in ("1  ", "2  ")]
        assert [row[3:9] for row in rows] == (made if columns > 20 else ["a long", "anothe"])
        chat.until(lambda: "> another long question" in chat.shown, "the one that was picked")
        chat.end()
