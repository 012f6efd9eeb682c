"""Untrusted text on a terminal: nothing acts, nothing is lost, and chunks make no difference."""

import random
import unicodedata
from itertools import pairwise

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtral_cli.util.sanitize import Cleaner, clean, deception_warnings, visible

ATTACKS = {
    "OSC 52 (clipboard)": "\x1b]52;c;ZXZpbA==\x07",
    "OSC 8 (link)": "\x1b]8;;http://evil/\x1b\\click\x1b]8;;\x1b\\",
    "OSC 0 (title)": "\x1b]0;root@bank\x07",
    "unterminated OSC": "\x1b]0;everything after this",
    "CSI 2J (erase)": "\x1b[2J\x1b[H",
    "CSI 6n (report)": "\x1b[6n",
    "CSI m (colour)": "\x1b[31mred",
    "alternate screen": "\x1b[?1049h\x1b[?25l",
    "DCS": "\x1bP+q544e\x1b\\",
    "APC (Kitty graphics)": "\x1b_Ga=T;AAAA\x1b\\",
    "ESC c (reset)": "\x1bc",
    "C1 CSI": "\x9b2J\x9b6n",
    "C1 OSC": "\x9d0;title\x9c",
    "C1 CSI as a raw byte": "\udc9b2J",
    "backspaces": "safe\b\b\b\bevil",
    "carriage return": "$ rm -rf /\r$ ls       ",
    "bell, shift out, delete": "\a\x0e\x7f",
    "line drawing": "\x1b(0qqq",
    "vertical tab and form feed": "a\vb\fc",
}
FRAGMENTS = [
    "\x1b",
    "[",
    "]",
    "?",
    ";",
    "2",
    "J",
    "6n",
    "m",
    "\x9b",
    "\x9d",
    "\x07",
    "\\",
    "\r",
    "\n",
    "\t",
    "\b",
    "c",
    "P",
    "h",
]
HOSTILE = st.text(st.one_of(st.sampled_from("".join(FRAGMENTS)), st.characters()), max_size=40)


class Recorder(pyte.Screen):
    """A terminal that remembers what it would have sent back to the program."""

    def __init__(self) -> None:
        super().__init__(200, 60)
        self.sent: list[str] = []

    def write_process_input(self, data: str) -> None:
        self.sent.append(data)


FRESH = Recorder()
PLAIN = FRESH.cursor.attrs


def show(text: str) -> Recorder:
    """A terminal after it was given the text, with the line ends a terminal driver makes of newlines."""
    screen = Recorder()
    pyte.Stream(screen).feed(text.replace("\n", "\r\n"))
    return screen


def assert_only_text(screen: Recorder, cleaned: str) -> None:
    """Nothing but characters: no colour, title, mode, answer or jump of the cursor; every visible character is there."""
    cells = [row[x] for _, row in sorted(screen.buffer.items()) for x in sorted(row)]
    assert screen.sent == []
    assert (screen.title, screen.icon_name) == ("", "")
    assert screen.mode == FRESH.mode
    assert screen.margins is None
    assert screen.charset == FRESH.charset
    assert screen.cursor.attrs == PLAIN
    assert not screen.cursor.hidden
    assert all(cell[1:] == PLAIN[1:] for cell in cells)
    assert without_spaces("".join(cell.data for cell in cells)) == without_spaces(cleaned)


def without_spaces(text: str) -> str:
    """The characters that take up a cell; combining ones join the cell before and may be normalised there."""
    text = unicodedata.normalize("NFC", text)
    return "".join(c for c in text if not c.isspace() and not unicodedata.combining(c) and c.isprintable())


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_shows_as_text(attack: str) -> None:
    cleaned = clean(ATTACKS[attack])
    assert not any(unicodedata.category(char) == "Cc" for char in cleaned if char not in "\n\t")
    assert_only_text(show(cleaned), cleaned)


def test_ten_thousand_fuzzed_outputs_have_no_effect_beyond_text() -> None:
    dice = random.Random(52)
    pool = [*FRAGMENTS, *ATTACKS.values(), "word ", "é", "中", "\u202e", "\ud800", "\u200b", "\x85", "\u2028"]
    for _ in range(10_000):
        text = "".join(dice.choice(pool) for _ in range(dice.randrange(1, 12)))
        cleaner = Cleaner()
        cut = dice.randrange(len(text) + 1)
        cleaned = cleaner.feed(text[:cut]) + cleaner.feed(text[cut:]) + cleaner.close()
        assert_only_text(show(cleaned), cleaned)


@given(HOSTILE, st.lists(st.integers(0, 40)))
def test_any_chunking_gives_what_the_whole_gives(text: str, cuts: list[int]) -> None:
    cleaner = Cleaner()
    pieces = [text[start:end] for start, end in pairwise([0, *sorted(cuts), len(text)])]
    assert "".join(map(cleaner.feed, pieces)) + cleaner.close() == clean(text)


@given(HOSTILE)
def test_cleaning_twice_changes_nothing_and_the_result_can_be_encoded(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    once.encode()


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Zl", "Zp", "Cn", "Co", "Cs"])))
def test_honest_text_stays_as_it_is(text: str) -> None:
    assert clean(text) == text


def test_letters_emoji_and_scripts_that_need_joiners_stay() -> None:
    for text in ("👩‍👩‍👧 🏳️‍🌈 ☺️", "نمی‌خواهم", "क्‍ष", "שלום\u200f!", "[/] [red]", "a\tb\nc"):
        assert clean(text) == text


def test_line_ends_of_every_kind_become_one_newline() -> None:
    assert clean("a\r\nb\rc\x85d\u2028e\u2029f\n\rg") == "a\nb\nc\nd\ne\nf\n\ng"


def test_a_newline_cut_between_its_two_characters_is_still_one() -> None:
    cleaner = Cleaner()
    assert [cleaner.feed("a\r"), cleaner.feed("\nb"), cleaner.feed("\r"), cleaner.close()] == ["a", "\nb", "", "\n"]


def test_overrides_are_shown_and_hidden_characters_removed() -> None:
    assert clean("user\u202etxt.exe") == r"user\u202etxt.exe"
    assert clean("a\u200bb\ufeffc\U000e0041d") == "abcd"
    assert clean("x\x1b[2J") == "x␛[2J"
    assert clean("\x9b") == r"\x9b"
    assert clean("\ud83d\ude00") == "\ufffd\ufffd"


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("plain ünïcode 名前.png", "plain ünïcode 名前.png"),
        ("a\x1b[31m\n\r\t\x9b.png", r"a\x1b[31m\n\r\t\x9b.png"),
        ("caf\udce9.png", r"caf\xe9.png"),
        ("\ud800", r"\ud800"),
        ("gpj.\u202ecod", r"gpj.\u202ecod"),
        ("a\u200bb\U000e0041", r"a\u200bb\U000e0041"),
        ("Screenshot at 3.04\u202fPM.png", "Screenshot at 3.04\u202fPM.png"),
        (r"back\slash", r"back\slash"),
    ],
)
def test_a_name_is_shown_on_one_line(name: str, seen: str) -> None:
    assert visible(name) == seen
    assert visible(seen) == seen


@given(st.text(st.characters()), st.integers(3, 30))
def test_a_shown_name_has_no_control_and_at_most_the_given_length(name: str, limit: int) -> None:
    seen = visible(name, limit)
    assert len(seen) <= limit
    assert clean(seen) == seen
    assert "\n" not in seen
    seen.encode()  # no half of a character


def test_a_long_name_keeps_its_start_and_its_end() -> None:
    assert visible("holiday-" + "x" * 100 + ".png", 20) == "holiday-x…xxxxxx.png"
    assert (visible("0123456789", 10), visible("0123456789a", 10)) == ("0123456789", "0123…6789a")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("if level != 'user\u202e \u2066// admin\u2069 \u2066':", "4 bidirectional controls, first in line 1"),
        ("ok\nx = 1  \U000e0041\U000e0042", "2 invisible tag characters, first in line 2"),
        ("pass\u200bword = 1", "1 invisible character, first in line 1"),
        ("na\u200dme = 1", "1 invisible character, first in line 1"),
        ("print('\x1b[2J')", "1 control character, first in line 1"),
        ("a = 1 # \u2028 b = 2", "1 unusual line end, first in line 1"),
        ("a = 1\rb = 2", "1 unusual line end, first in line 1"),
    ],
)
def test_code_that_deceives_is_warned_of(code: str, says: str) -> None:
    assert any(warning.startswith(says) for warning in deception_warnings(code)), deception_warnings(code)


@pytest.mark.parametrize(
    "code",
    ["print('hello')\n", "a = 1\r\nb = 2\r\n", "# 👩‍👩‍👧 family, ☺️", "\ufeffusing System;", "# نمی‌خواهم", "\tx = 'é'"],
)
def test_honest_code_raises_no_warning(code: str) -> None:
    assert deception_warnings(code) == []
