"""Durations as people write them; what is removed by age must not be doubtful."""

import pytest

from pixtral_cli.errors import UsageError
from pixtral_cli.util import durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600),
        ("90", 90),
        ("1.5h", 5400),
        ("30 s", 30),
        ("0", 0),
        ("0m", 0),
        ("10 minutes", 600),
        ("2 days", 172_800),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert durations.parse(text, "--keep-alive") == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "1e9", "5 parsecs", "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--keep-alive"):
        durations.parse(text, "--keep-alive")


@pytest.mark.parametrize(
    ("text", "days"), [("12h", 0.5), ("30d", 30), ("2w", 14), ("1440 min", 1), ("90minutes", 0.0625), ("1 Day", 1)]
)
def test_ages(text: str, days: float) -> None:
    assert durations.parse_age(text, "--older-than") == days * 86_400


def test_six_months_are_half_a_year() -> None:
    half = durations.parse_age("6months", "--older-than")
    assert half == durations.parse_age("6 mo", "--older-than") == durations.parse_age("1y", "--older-than") / 2


@pytest.mark.parametrize("text", ["6m", "6 M", "1.5m"])
def test_an_age_in_m_is_refused_and_both_spellings_are_named(text: str) -> None:
    with pytest.raises(UsageError, match="months or minutes") as refused:
        durations.parse_age(text, "--older-than")
    assert "months" in refused.value.hint
    assert "min" in refused.value.hint


@pytest.mark.parametrize("text", ["", "30", "soon", "5x"])
def test_an_age_without_a_known_unit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--older-than"):
        durations.parse_age(text, "--older-than")
