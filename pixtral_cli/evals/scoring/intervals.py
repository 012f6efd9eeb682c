"""Statistics: bootstrap confidence intervals, and tests of whether two runs differ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RESAMPLES = 10_000
CONFIDENCE = 0.95
BLOCK_SIZE = 4_000_000  # numbers in one block of resamples


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the limits of its 95 % confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """B's scores minus A's on the questions that both answered. `p`: two-sided, for the hypothesis of no difference.

    `test`: McNemar's exact test where every score is 0 or 1, else a paired bootstrap. `questions`: their number.
    """

    delta: Interval
    p: float
    test: str
    questions: int


@dataclass(frozen=True, slots=True)
class ClusteredScore:
    """The score of one question. Scores of one `cluster` (a conversation, an image) are not independent."""

    cluster: str
    value: float
    weight: float = 1.0


def mean(scores: Sequence[ClusteredScore]) -> float:
    """The weighted mean; NaN for no scores."""
    total = math.fsum(score.weight for score in scores)
    return math.fsum(score.value * score.weight for score in scores) / total if total else math.nan


def standard_interval(scores: Sequence[ClusteredScore]) -> Interval:
    """Mean and normal interval from the standard error, clipped to the scale. Cheap: for the progress line."""
    mean_score = mean(scores)
    if len(scores) < 2:
        return Interval(mean_score, mean_score, mean_score)
    variance = math.fsum((score.value - mean_score) ** 2 for score in scores) / (len(scores) - 1)
    half_width = 1.96 * math.sqrt(variance / len(scores))
    highest = 1.0 if all(score.value <= 1 for score in scores) else 10.0  # fractions, or a judge's ratings
    return Interval(mean_score, max(0.0, mean_score - half_width), min(highest, mean_score + half_width))


def bootstrap(scores: Sequence[ClusteredScore], *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Mean and percentile bootstrap interval; clusters are resampled as a whole.

    Deterministic for equal scores and seed.
    """
    sums: dict[str, list[float]] = {}
    for score in scores:
        entry = sums.setdefault(score.cluster, [0.0, 0.0])
        entry[0] += score.value * score.weight
        entry[1] += score.weight
    mean_score = mean(scores)
    if len(sums) < 2:
        return Interval(mean_score, mean_score, mean_score)
    low, high = _percentiles(_resampled_means([sums[name] for name in sorted(sums)], seed, resamples))
    return Interval(mean_score, min(low, mean_score), max(high, mean_score))


def _resampled_means(clusters: Sequence[Sequence[float]], seed: int, resamples: int) -> Sequence[float]:
    """The means of `resamples` resamples of clusters, each given as (sum of weighted scores, sum of weights)."""
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


def compare_scores(a: Mapping[str, ClusteredScore], b: Mapping[str, ClusteredScore], *, seed: int = 0) -> Difference:
    """B compared with A on the questions (keys) that both have."""
    common = sorted(a.keys() & b.keys())
    pairs = [(a[key].value, b[key].value) for key in common]
    deltas = [ClusteredScore(a[key].cluster, b[key].value - a[key].value, a[key].weight) for key in common]
    delta = bootstrap(deltas, seed=seed)
    independent = len({delta.cluster for delta in deltas}) == len(deltas)
    if independent and all(score in (0.0, 1.0) for pair in pairs for score in pair):
        return Difference(delta, mcnemar(pairs), "McNemar", len(common))
    return Difference(delta, _shifted_p(deltas, seed), "paired bootstrap", len(common))


def mcnemar(pairs: Sequence[tuple[float, float]]) -> float:
    """The two-sided exact p of McNemar's test (a binomial test on the discordant pairs) for pairs of scores 0 or 1."""
    only_a = sum(score_a > score_b for score_a, score_b in pairs)
    only_b = sum(score_a < score_b for score_a, score_b in pairs)
    discordant = only_a + only_b
    tail = sum(math.comb(discordant, k) for k in range(min(only_a, only_b) + 1))
    return min(1.0, 2 * tail / int(2**discordant))


def _shifted_p(deltas: Sequence[ClusteredScore], seed: int) -> float:
    """The two-sided bootstrap p: how often resampled differences, shifted to mean 0, have so large a mean."""
    mean_score = mean(deltas)
    if not deltas or all(delta.value == 0 for delta in deltas):
        return 1.0
    centred = [[(delta.value - mean_score) * delta.weight, delta.weight] for delta in _cluster_means(deltas)]
    means = _resampled_means(centred, seed, RESAMPLES)
    return (1 + sum(abs(value) >= abs(mean_score) - 1e-12 for value in means)) / (1 + len(means))


def _cluster_means(scores: Sequence[ClusteredScore]) -> list[ClusteredScore]:
    """One score for each cluster: its mean, with the sum of its weights."""
    members: dict[str, list[ClusteredScore]] = {}
    for score in scores:
        members.setdefault(score.cluster, []).append(score)
    return [
        ClusteredScore(name, mean(cluster), sum(score.weight for score in cluster))
        for name, cluster in sorted(members.items())
    ]
