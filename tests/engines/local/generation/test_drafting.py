"""Prompt lookup drafts what followed the last tokens before, longer while it is right, shorter and surer after it was wrong."""

import pytest

from pixtral_cli.engines.local.generation.drafting import MAX_DRAFT, NGRAM, PromptLookup

TEXT = list(range(100, 140))


def repeated() -> PromptLookup:
    """A lookup whose last three tokens stood at the beginning of what it knows."""
    return PromptLookup([*TEXT, *TEXT[:NGRAM]])


def test_what_followed_the_last_tokens_is_drafted() -> None:
    assert repeated().draft(10) == TEXT[3:6]


@pytest.mark.parametrize("limit", [0, -1, -5])
def test_where_nothing_more_fits_nothing_is_drafted(limit: int) -> None:
    assert repeated().draft(limit) == []


def test_a_draft_is_no_longer_than_its_limit() -> None:
    assert repeated().draft(2) == TEXT[3:5]


def test_tokens_that_never_came_before_have_no_draft() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5])
    assert lookup.draft(10) == []
    for token in (2, 3, 4):
        lookup.add(token)
    assert lookup.draft(10) == [5, 2, 3]


def test_drafts_grow_while_all_of_them_is_accepted() -> None:
    lookup = repeated()
    sizes = [len(lookup.draft(100))]
    sizes += [len(lookup.draft(100, drafted=sizes[-1], accepted=sizes[-1])) for _ in range(3)]
    assert sizes == [3, 7, MAX_DRAFT, MAX_DRAFT]


def test_a_draft_that_was_right_in_part_changes_nothing() -> None:
    lookup = repeated()
    lookup.draft(100)
    assert len(lookup.draft(100, drafted=3, accepted=3)) == 7
    assert len(lookup.draft(100, drafted=7, accepted=2)) == 7


def test_after_a_wrong_draft_a_longer_match_is_asked_for() -> None:
    lookup = repeated()
    assert lookup.draft(100)
    assert lookup.draft(100, drafted=3, accepted=0) == []  # three tokens match, six are wanted
    for token in TEXT[3:6]:
        lookup.add(token)
    assert lookup.draft(100) == TEXT[6:9]
