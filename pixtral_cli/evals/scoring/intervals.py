"""Statistics: bootstrap confidence intervals, and tests of whether two runs differ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RESAMPLES = 10_000
CONFIDENCE = 0.95
BLOCK_SIZE = 4_000_000  # numbers in one block of resamples


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more B scores than A on the questions both answered, with the p-value of there being no difference.

    `test` is the one that gave it: McNemar's exact test where every score is 0 or 1, else a paired bootstrap.
    """

    delta: Interval
    p: float
    test: str
    questions: int


@dataclass(frozen=True, slots=True)
class Scored:
    """One question's score; those of one `cluster` (a conversation, a picture) are not independent."""

    cluster: str
    score: float
    weight: float = 1.0


def mean(scores: Sequence[Scored]) -> float:
    """Weighted; nan for none."""
    total = math.fsum(one.weight for one in scores)
    return math.fsum(one.score * one.weight for one in scores) / total if total else math.nan


def standard_interval(scores: Sequence[Scored]) -> Interval:
    """Mean and interval from the standard error, within the scale: cheap, for the progress line."""
    middle = mean(scores)
    if len(scores) < 2:
        return Interval(middle, middle, middle)
    variance = math.fsum((one.score - middle) ** 2 for one in scores) / (len(scores) - 1)
    reach = 1.96 * math.sqrt(variance / len(scores))
    most = 1.0 if all(one.score <= 1 for one in scores) else 10.0  # shares, or a judge's ratings
    return Interval(middle, max(0.0, middle - reach), min(most, middle + reach))


def bootstrap(scores: Sequence[Scored], *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Mean and percentile interval, whole clusters drawn with replacement; the same for the same scores and seed."""
    sums: dict[str, list[float]] = {}
    for one in scores:
        entry = sums.setdefault(one.cluster, [0.0, 0.0])
        entry[0] += one.score * one.weight
        entry[1] += one.weight
    middle = mean(scores)
    if len(sums) < 2:
        return Interval(middle, middle, middle)
    low, high = _percentiles(_resampled_means([sums[name] for name in sorted(sums)], seed, resamples))
    return Interval(middle, min(low, middle), max(high, middle))


def _resampled_means(clusters: Sequence[Sequence[float]], seed: int, resamples: int) -> Sequence[float]:
    """The means of so many resamples of clusters, each a sum of weighted scores and of weights."""
    import numpy as np

    table = np.asarray(clusters, dtype=np.float64)
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK_SIZE // len(table))
    means: list[float] = []
    while len(means) < resamples:
        chosen = table[rng.integers(len(table), size=(min(block, resamples - len(means)), len(table)))].sum(axis=1)
        means += (chosen[:, 0] / np.maximum(chosen[:, 1], 1e-300)).tolist()
    return means


def _percentiles(means: Sequence[float]) -> tuple[float, float]:
    import numpy as np

    low, high = np.quantile(np.asarray(means), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def compare_scores(a: Mapping[str, Scored], b: Mapping[str, Scored], *, seed: int = 0) -> Difference:
    """B against A, question by question where both have one (keys are the questions')."""
    common = sorted(a.keys() & b.keys())
    pairs = [(a[key].score, b[key].score) for key in common]
    deltas = [Scored(a[key].cluster, b[key].score - a[key].score, a[key].weight) for key in common]
    delta = bootstrap(deltas, seed=seed)
    alone = len({one.cluster for one in deltas}) == len(deltas)
    if alone and all(score in (0.0, 1.0) for pair in pairs for score in pair):
        return Difference(delta, mcnemar(pairs), "McNemar", len(common))
    return Difference(delta, _shifted_p(deltas, seed), "paired bootstrap", len(common))


def mcnemar(pairs: Sequence[tuple[float, float]]) -> float:
    """Two-sided exact p of McNemar's test: were the questions that only one got right split by a coin?"""
    only_a = sum(one > other for one, other in pairs)
    only_b = sum(one < other for one, other in pairs)
    discordant = only_a + only_b
    tail = sum(math.comb(discordant, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / int(2**discordant))


def _shifted_p(deltas: Sequence[Scored], seed: int) -> float:
    """Two-sided bootstrap p: how often the resampled difference, moved to 0, is as large as the one seen."""
    middle = mean(deltas)
    if not deltas or all(one.score == 0 for one in deltas):
        return 1.0
    centred = [[(one.score - middle) * one.weight, one.weight] for one in _cluster_means(deltas)]
    means = _resampled_means(centred, seed, RESAMPLES)
    return (1 + sum(abs(value) >= abs(middle) - 1e-12 for value in means)) / (1 + len(means))


def _cluster_means(scores: Sequence[Scored]) -> list[Scored]:
    """One entry a cluster: its mean and its whole weight."""
    members: dict[str, list[Scored]] = {}
    for one in scores:
        members.setdefault(one.cluster, []).append(one)
    return [Scored(name, mean(these), sum(one.weight for one in these)) for name, these in sorted(members.items())]
