"""Markdown that is drawn while it is written: the same as when drawn at once, and what is finished is left alone."""

import io
import os
import re
import threading
from collections.abc import Callable

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from pixtral_cli.terminal.output.live import LinePainter, LiveAnswer, MarkdownStream, TextStream
from pixtral_cli.terminal.output.markdown.blocks import close_open_marks, split
from pixtral_cli.terminal.output.markdown.renderer import block_renderer
from pixtral_cli.util.sanitize import clean
from tests.server.processes import until
from tests.terminal.emulator import lines_of, screen_of

PIECES = [
    "# h\n", "some words ", "**bold** and `code`\n", "- item\n", "- **x** y\n", "  - nested\n", "1. one\n", "2. two\n",
    "\n", "\n\n", "```py\n", "x = 1\n", "    indented\n", "```\n", "~~~\n", "````\n", "> quote\n", "| a | b |\n",
    "|---|---|\n", "| 1 | 2 |\n", "---\n", "===\n", "*\n", "* star\n", "**", "`", "*", "_", " ", "日本語", "🎉",
    "[a](b)", "[r]: x\n", "<b>", "&amp;", "\\", "\t", "10. ten\n", "#\n", "```html\n<script>\nlet a\n", "long " * 20,
]  # fmt: skip
markdown = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
windows = st.tuples(st.sampled_from([20, 40, 80]), st.sampled_from([3, 10, 24]))


class Recording(LinePainter):
    """Remembers how many lines it was told are finished."""

    finished = 0

    def paint(self, finished: list[str], live: list[str]) -> None:
        super().paint(finished, live)
        self.finished += len(finished)


class Window:
    """A page on an emulated screen; `size` may be changed."""

    def __init__(self, columns: int, rows: int) -> None:
        self.size = os.terminal_size((columns, rows))
        self.screen = screen_of(columns, rows)
        self.screen.set_mode(pyte.modes.LNM)  # as a terminal's driver does with a newline
        self.written: list[str] = []
        self.painter = Recording(self.write, lambda: self.size)
        self.page = MarkdownStream(self.painter)

    def write(self, text: str) -> None:
        self.written.append(text)
        pyte.Stream(self.screen).feed(text)

    def shrink(self, columns: int) -> None:
        """A narrower window, whose terminal wraps the lines that no longer fit."""
        lines = lines_of(self.screen)
        self.size = os.terminal_size((columns, self.size.lines))
        self.screen = screen_of(columns, self.size.lines)
        self.screen.set_mode(pyte.modes.LNM)
        pyte.Stream(self.screen).feed("\n".join(lines))


def at_once(text: str, columns: int) -> list[str]:
    lines = [line for block in split(text) for line in [""] * block.gap + block_renderer(columns - 1).lines(block)]
    plain = [Text.from_ansi(line).plain.rstrip() for line in lines]
    while plain and not plain[-1]:
        plain.pop()
    return plain


@given(markdown, windows, st.lists(st.integers(1, 12), min_size=1))
@settings(max_examples=100, deadline=None)
def test_however_it_arrives_it_looks_as_if_drawn_at_once(text: str, window: tuple[int, int], cuts: list[int]) -> None:
    view = Window(*window)
    start = 0
    for number in range(len(text)):
        end = start + cuts[number % len(cuts)]
        view.page.show(text[start:end])
        start = end
    view.page.finish("")
    assert lines_of(view.screen) == at_once(text, window[0])


@given(markdown, windows)
@settings(max_examples=60, deadline=None)
def test_what_is_finished_is_never_drawn_again(text: str, window: tuple[int, int]) -> None:
    view = Window(*window)
    kept: list[str] = []
    for character in text:
        view.page.show(character)
        lines = [*lines_of(view.screen), *[""] * view.painter.finished]
        assert lines[: len(kept)] == kept
        kept = lines[: view.painter.finished]


@given(st.text(st.characters(codec="utf-8"), max_size=200), windows)
@settings(max_examples=100, deadline=None)
def test_any_text_is_drawn_and_only_our_own_sequences_reach_the_terminal(text: str, window: tuple[int, int]) -> None:
    view = Window(*window)
    view.page.show(clean(text))
    view.page.finish("")
    sent = "".join(view.written)
    ours = re.sub(r"\x1b\[(?:\?2026[hl]|\d*[AJK]|[\d;]*m)", "", sent).replace("\r", "")
    assert clean(ours) == ours


def test_letters_that_the_parser_decodes_are_made_harmless_too() -> None:
    view = Window(80, 24)
    view.page.show("[x](http://a/%1b]52;c;eA==%07) <http://a/%1b[2J> &#x202e; &#27; `\\x1b`\n```a&#27;b\nx\n```\n")
    view.page.finish("")
    sent = "".join(view.written)
    assert "\x1b]" not in sent
    assert "\x1b[2J" not in sent
    assert "\u202e" not in sent


def test_only_the_changed_end_of_the_tail_is_written_again() -> None:
    view = Window(80, 24)
    view.page.show("A first paragraph.\n\nThe second is " + "a long one " * 20)
    view.written.clear()
    view.page.show("that goes on")
    assert "first" not in "".join(view.written)
    assert "The second" not in "".join(view.written)
    view.written.clear()
    view.page.show("")
    assert view.written == []


def test_code_scrolls_line_by_line_while_its_fence_is_open() -> None:
    view = Window(40, 6)
    view.page.show("```python\n")
    for number in range(50):
        view.page.show(f"x = {number}\n")
        assert f"x = {number}" in lines_of(view.screen)[-1]
    assert lines_of(view.screen) == ["python", *(f"x = {number}" for number in range(50))]


def test_a_script_is_coloured_before_its_page_is_finished() -> None:
    lines = block_renderer(79).lines(split("```html\n<script>\nlet a = 1;\nlet b = 2;\n")[0])
    assert lines[2].replace("a", "b").replace("1", "2") == lines[3]
    assert "\x1b[" in lines[3]


@pytest.mark.parametrize(
    ("unfinished", "shown"),
    [
        ("some **bo", "some **bo**"),
        ("some **", "some"),
        ("see `co", "see `co`"),
        ("text\n``", "text\n"),
        ("done **bold** and", "done **bold** and"),
        ("2**3 is 8", "2**3 is 8"),
        ("```py\nx = 2 **", "```py\nx = 2 **"),
    ],
)
def test_unfinished_marks_do_not_flash_up(unfinished: str, shown: str) -> None:
    assert close_open_marks(unfinished) == shown


@pytest.mark.parametrize("columns", [20, 45])
def test_a_window_made_narrower_keeps_every_word_once(columns: int) -> None:
    view = Window(80, 24)
    numbers = "one two three four five six seven eight nine ten "
    view.page.show(f"# Title\n\nA finished paragraph.\n\n{numbers * 4}")
    view.shrink(columns)
    view.page.show("and the end")
    view.page.finish("")
    words = " ".join(lines_of(view.screen)).split()
    assert words == "Title A finished paragraph.".split() + numbers.split() * 4 + "and the end".split()  # noqa: SIM905
    assert all(len(line) < columns for line in lines_of(view.screen)[-5:])


@pytest.mark.parametrize("size", [lambda: os.terminal_size((1, 1)), lambda: os.terminal_size((2, 2))])
def test_the_smallest_windows_do_no_harm(size: Callable[[], os.terminal_size]) -> None:
    painted: list[str] = []
    page = MarkdownStream(LinePainter(painted.append, size))
    page.show("# A\n\n- b\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> q 日\n\n```py\nx\n```\n")
    page.finish("日")
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", "".join(painted))
    assert [letter for letter in "Ab12qx" if letter not in shown] == []


def test_a_drawing_that_fails_is_told_to_whoever_feeds_and_at_the_end() -> None:
    failed = threading.Event()

    def write(text: str) -> None:
        """Fails once, as a full disk may."""
        if not failed.is_set():
            failed.set()
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError), LiveAnswer(io.StringIO(), write) as live:
        live.feed("one")
        assert failed.wait(60)
    failed.clear()
    with pytest.raises(BrokenPipeError), LiveAnswer(io.StringIO(), write) as live:
        live.feed("one")
        assert failed.wait(60)
        until(lambda: not live._thread.is_alive(), 60)
        live.feed("two")
        raise AssertionError("it went on")
    with pytest.raises(KeyError), LiveAnswer(io.StringIO(), write) as live:
        live.feed("one")
        assert failed.wait(60)
        raise KeyError  # the first error is the one to tell


@given(markdown, windows, st.lists(st.integers(1, 12), min_size=1))
@settings(max_examples=60, deadline=None)
def test_an_answer_as_written_looks_as_if_the_terminal_had_got_it_at_once(
    text: str, window: tuple[int, int], cuts: list[int]
) -> None:
    plain, view = Window(*window), Window(*window)
    plain.write(text)
    stream = TextStream(view.painter, lambda columns: ["", "footer"])
    start = 0
    for number in range(len(text)):
        stream.show(text[start : start + cuts[number % len(cuts)]])
        start += cuts[number % len(cuts)]
    stream.finish("")
    assert lines_of(view.screen) == lines_of(plain.screen)


def test_nothing_erases_the_last_character_of_a_full_row() -> None:
    """A cursor behind the last column stands on it: what erases from there on would take that character."""
    view = Window(20, 10)
    stream = TextStream(view.painter, lambda columns: ["footer"])
    for text in ("x" * 5, "x" * 15 + "\n", "日本" * 10 + "\n", "y" * 40):
        stream.show(text)
    stream.finish("")
    sent = "".join(view.written)
    assert not re.search("x{20}\x1b|(?:日本){10}\x1b|y{40}\x1b", sent)
    assert lines_of(view.screen) == ["x" * 20, *["日本" * 5] * 2, *["y" * 20] * 2]
