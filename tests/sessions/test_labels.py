"""Titles and tags: what is kept of one that is too long, and what is no tag."""

import pytest

from pixtral_cli.chat.message import Message
from pixtral_cli.errors import UsageError
from pixtral_cli.sessions.labels import clean_tag, clean_title, title
from tests.images.colours import GREEN, RED


@pytest.mark.parametrize(
    ("given", "kept"),
    [("x" * 100, "x" * 100), ("x" * 101, "x" * 99 + "…"), (" two\n  words\t", "two words")],
    ids=["as long as may be", "one longer", "blanks"],
)
def test_a_title_is_one_line_of_at_most_a_hundred_characters(given: str, kept: str) -> None:
    assert clean_title(given) == kept


def test_a_title_counts_an_image_that_comes_twice_once() -> None:
    parts = (GREEN, "Is ", RED, " the same as ", GREEN, "?")
    assert title([Message("user", parts)]) == "Is #2 the same as #1?"


@pytest.mark.parametrize("tag", ["", " ", "#", "two words", "a,b", "x" * 41])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(UsageError, match="is no tag"):
        clean_tag(tag)


@pytest.mark.parametrize(("tag", "kept"), [("#Work", "work"), (" work ", "work"), ("x" * 40, "x" * 40)])
def test_a_tag_is_kept_as_one_word_in_lower_case(tag: str, kept: str) -> None:
    assert clean_tag(tag) == kept
