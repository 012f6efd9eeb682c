"""Intervals and significance."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixtral_cli.evals.scoring.intervals import (
    ClusteredScore,
    bootstrap,
    compare_scores,
    mcnemar,
    mean,
    standard_interval,
)

lean = settings(deadline=None, max_examples=60)
SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def scored(values: list[float]) -> list[ClusteredScore]:
    return [ClusteredScore(str(i), value) for i, value in enumerate(values)]


@lean
@given(SCORES)
def test_an_interval_holds_the_mean_and_stays_inside_the_scores(values: list[float]) -> None:
    found = bootstrap(scored(values), resamples=300)
    assert min(values) - 1e-9 <= found.low <= found.mean <= found.high <= max(values) + 1e-9


def test_the_bootstrap_is_as_wide_as_theory_says_and_repeats_itself() -> None:
    values = scored([1.0] * 300 + [0.0] * 100)
    found = bootstrap(values)
    error = math.sqrt(0.75 * 0.25 / 400)
    assert found == bootstrap(values)
    assert found.low == pytest.approx(0.75 - 1.96 * error, abs=0.006)
    assert found.high == pytest.approx(0.75 + 1.96 * error, abs=0.006)
    assert standard_interval(values).low == pytest.approx(found.low, abs=0.006)


def test_questions_of_one_conversation_count_as_one_draw() -> None:
    values = [float(i % 2) for i in range(50)]
    apart = bootstrap([ClusteredScore(f"{i}-{k}", value) for i, value in enumerate(values) for k in range(4)])
    together = bootstrap([ClusteredScore(str(i), value) for i, value in enumerate(values) for _ in range(4)])
    assert together.mean == apart.mean
    assert together.high - together.low == pytest.approx(2 * (apart.high - apart.low), rel=0.1)


def test_weights_weigh() -> None:
    assert mean([ClusteredScore("a", 1.0, 3), ClusteredScore("b", 0.0, 1)]) == 0.75


@pytest.mark.parametrize(("only_a", "only_b", "p"), [(0, 0, 1.0), (5, 0, 0.0625), (10, 2, 0.03857421875), (4, 4, 1.0)])
def test_mcnemar_is_the_binomial_test(only_a: int, only_b: int, p: float) -> None:
    assert mcnemar([(1, 0)] * only_a + [(0, 1)] * only_b + [(1, 1)] * 7) == p


def test_a_clear_difference_is_found_and_none_is_not() -> None:
    a = {str(i): ClusteredScore(str(i), i % 10 / 10) for i in range(100)}
    better = {key: ClusteredScore(one.cluster, min(1.0, one.value + 0.2)) for key, one in a.items()}
    assert compare_scores(a, better).p < 0.001
    assert compare_scores(a, better).delta.low > 0.1
    assert compare_scores(a, a).p == 1.0
    assert compare_scores(a, better).test == "paired bootstrap"


def test_only_common_questions_are_compared() -> None:
    a = {"1": ClusteredScore("1", 1.0), "2": ClusteredScore("2", 0.0)}
    b = {"2": ClusteredScore("2", 1.0), "3": ClusteredScore("3", 0.0)}
    found = compare_scores(a, b)
    assert (found.questions, found.delta.mean, found.test) == (1, 1.0, "McNemar")


@pytest.mark.parametrize(
    "values", [[1.0, 1.0, 0.9, 1.0], [0.0, 0.0, 0.1], [1.0, 0.0], [10.0, 10.0, 9.0], [0.99] * 3 + [0.5]]
)
def test_the_interval_of_the_progress_line_stays_inside_the_scale(values: list[float]) -> None:
    found = standard_interval(scored(values))
    assert 0 <= found.low <= found.mean <= found.high <= (1 if max(values) <= 1 else 10)
