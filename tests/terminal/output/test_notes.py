"""Lines, errors and tables: what they look like in windows of any width, and that nothing in them acts on the terminal."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from pixtral_cli.errors import PixtralError
from pixtral_cli.terminal.output.notes import Notes, format_table
from pixtral_cli.terminal.output.output import Output
from pixtral_cli.terminal.output.word_wrap import wrap_words


def notes(colour: bool = False, width: int = 80) -> tuple[Notes, io.StringIO]:
    said = io.StringIO()
    return Notes(Output(io.StringIO(), said), colour, width), said


def test_an_error_is_one_line_with_its_hint() -> None:
    there, said = notes()
    there.error(PixtralError("It broke", "Mend it"))
    there.error(PixtralError("Really?", "Yes"))
    there.error(PixtralError("No idea"))
    assert said.getvalue() == "It broke. Mend it\nReally? Yes\nNo idea\n"


@pytest.mark.parametrize("colour", [False, True])
def test_no_note_acts_on_the_terminal(colour: bool) -> None:
    there, said = notes(colour)
    hostile = "\x1b]52;c;aGk=\x07 \x1b[2J \x9b1m \u202e"
    there.say(hostile)
    there.warn(hostile)
    there.tell(hostile)
    there.error(PixtralError(hostile, hostile))
    there.rows([(hostile, hostile)])
    written = said.getvalue()
    for style in ("\x1b[2m", "\x1b[33m", "\x1b[31m", "\x1b[0m"):
        written = written.replace(style, "")
    assert not set(written) & {"\x1b", "\x07", "\x9b", "\u202e"}


def test_rows_stand_in_columns_where_they_fit_and_below_one_another_where_not() -> None:
    rows = [("#1 cat.png", "64×32"), ("#10 犬.png", "8×8", "new")]
    assert format_table(rows, 40) == ["#1 cat.png  64×32", "#10 犬.png  8×8    new"]
    assert format_table(rows, 20) == ["#1 cat.png", "  64×32", "#10 犬.png", "  8×8", "  new"]
    assert format_table([], 20) == []


def test_only_the_last_column_of_a_table_is_wrapped() -> None:
    rows = [("seed", "3", "same seed, same answer"), ("top_p", "0.25", "nucleus sampling"), ("a", "b")]
    assert format_table(rows, 33) == [
        "seed   3     same seed, same",
        "             answer",
        "top_p  0.25  nucleus sampling",
        "a      b",
    ]
    assert format_table(rows, 32)[:3] == ["seed", "  3", "  same seed, same answer"]


@given(st.lists(st.sampled_from(["a", "猫", "word", "🙂", "longer-than-all"]), min_size=1), st.integers(1, 30))
def test_text_is_broken_between_words_and_nothing_is_lost(words: list[str], columns: int) -> None:
    text = " ".join(words)
    lines = wrap_words(text, columns).split("\n")
    assert " ".join(lines) == text
    assert all(wcswidth(line) <= columns or " " not in line for line in lines)
