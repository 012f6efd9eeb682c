"""Thinking on a terminal that draws: its tail while it comes, then a line, all of it, or nothing."""

import os
from collections.abc import Callable

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from pixtral_cli.terminal.output.live import LinePainter, MarkdownStream
from pixtral_cli.terminal.output.output import ThinkingMode
from pixtral_cli.terminal.output.thinking import PlainThinking, ThinkingBlock
from tests.terminal.emulator import lines_of, screen_of


class Window:
    def __init__(self, mode: ThinkingMode, columns: int = 40, footer: Callable[[int], list[str]] | None = None) -> None:
        self.screen = screen_of(columns, 12)
        self.screen.set_mode(pyte.modes.LNM)
        size = os.terminal_size((columns, 12))
        self.page = MarkdownStream(LinePainter(pyte.Stream(self.screen).feed, lambda: size), footer, mode)

    @property
    def lines(self) -> list[str]:
        return lines_of(self.screen)


def test_folded_its_tail_and_length_are_seen_while_it_comes_and_a_line_stays() -> None:
    window = Window("fold")
    window.page.think("\n".join(f"thought {number}" for number in range(20)))
    assert window.lines == ["Thinking 0 s, 40 words", "  thought 17", "  thought 18", "  thought 19"]
    window.page.show("\n")
    window.page.show("The *answer*.")
    window.page.finish("")
    assert window.lines == ["Thought, 40 words", "", "The answer."]


def test_shown_all_of_it_goes_into_the_scrollback() -> None:
    window = Window("show")
    for number in range(40):
        window.page.think(f"**thought** {number}\n")
    window.page.show("# The answer")
    window.page.finish("")
    assert window.lines == [*(f"**thought** {number}" for number in range(40)), "", "The answer"]


def test_hidden_there_is_nothing_but_the_footer() -> None:
    window = Window("hide", footer=lambda columns: ["working"])
    window.page.think("secret")
    assert window.lines == ["working"]
    window.page.show("Answer.")
    window.page.finish("")
    assert window.lines == ["Answer."]


def test_what_is_thought_in_the_middle_of_an_answer_stays_there() -> None:
    window = Window("show")
    window.page.show("one")
    window.page.think("hm")
    window.page.show("two")
    window.page.finish("")
    assert window.lines == ["one", "hm", "", "two"]


def test_an_answer_that_ends_within_its_thinking_leaves_the_line() -> None:
    window = Window("fold")
    window.page.think("a b c")
    window.page.finish("")
    assert window.lines == ["Thought, 3 words"]


@given(
    st.text(st.characters(exclude_categories=("C", "Z")) | st.sampled_from(" \n日🎉"), max_size=200), st.integers(8, 60)
)
def test_no_line_is_wider_than_the_window_and_no_word_is_lost(text: str, columns: int) -> None:
    block = ThinkingBlock("show")
    lines: list[str] = []
    for at in range(0, len(text), 7):
        block.add(text[at : at + 7])
        lines += block.lines(columns)
    plain = [line.removeprefix("\x1b[2m").removesuffix("\x1b[0m") for line in [*lines, *block.finish(columns)]]
    assert all(wcswidth(line) < columns for line in plain)
    assert "".join(plain).replace(" ", "") == "".join(text.split())


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("show", "[THINK]\nso so\n[/THINK]\n\nyes no"),
        ("fold", "(Thought, 2 words)\n\nyes no"),
        ("hide", "yes no"),
    ],
)
def test_where_nothing_is_drawn(mode: ThinkingMode, expected: str) -> None:
    plain = PlainThinking(mode)
    pieces = [("so ", ""), ("so", ""), ("", "\n"), ("", "\nyes "), ("", "no")]
    assert "".join(plain.feed(*piece) for piece in pieces) + plain.close() == expected
