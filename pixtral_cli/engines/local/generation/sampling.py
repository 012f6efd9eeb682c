"""Samplers: functions from logits to a token, built once per answer."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.engines.local.generation.logit_adjuster import LogitAdjuster

Sampler = Callable[[Tensor], int]
TOP_P_CANDIDATES = 1024  # likeliest tokens that are tried before all are sorted


class NonFiniteLogits(Exception):
    """The model computed a logit that is NaN or infinite."""


class Constrain(Protocol):
    """Restricts a sampler to some tokens; see `constraint.Constraint.constrain`."""

    def __call__(self, sample: Sampler, *, unmasked_first: bool) -> Sampler: ...


def make_sampler(
    sampling: Sampling,
    constrain: Constrain | None = None,
    prompt: Sequence[int] = (),
    record: Callable[[Tensor, int], None] | None = None,
) -> Sampler:
    """A function from logits (vocabulary,) to a token, which must be called once for each token of an answer, in order.

    Equal seeds give equal tokens for equal logits. `prompt`: tokens to which the repetition penalty applies besides
    those of the answer. `record` is called with the unadjusted logits and the chosen token. Drafting does not change
    the result: penalties count chosen tokens only.

    The function raises NonFiniteLogits when a logit is NaN or infinite.
    """
    greedy = sampling.temperature == 0
    sample = _greedy if greedy else _multinomial(sampling)
    independent = greedy or not _has_filters(sampling)  # see Constraint.constrain
    choose = constrain(sample, unmasked_first=independent) if constrain else sample
    adjuster = LogitAdjuster(sampling, prompt) if LogitAdjuster.is_needed(sampling) else None

    def checked(logits: Tensor) -> int:
        if not torch.isfinite(logits).all():
            raise NonFiniteLogits
        token = choose(adjuster(logits) if adjuster else logits)
        if adjuster:
            adjuster.add(token)
        if record:
            record(logits, token)
        return token

    return checked


def _has_filters(sampling: Sampling) -> bool:
    """Whether unlikely tokens are excluded."""
    return sampling.top_p < 1 or sampling.top_k > 0 or sampling.min_p > 0


def _greedy(logits: Tensor) -> int:
    return int(logits.argmax())


def _multinomial(sampling: Sampling) -> Sampler:
    """A sampler that draws from the distribution after temperature, min-p, top-k and top-p."""
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)

    def draw(logits: Tensor) -> int:
        values = logits.cpu().double()
        # The maximum is subtracted first, so that a small temperature gives no infinite quotient.
        probabilities = torch.softmax((values - values.max()) / sampling.temperature, dim=-1)
        filtered, tokens = _filter(probabilities, sampling)
        sums = filtered.cumsum(0)
        point = torch.rand((), generator=generator, dtype=torch.double) * sums[-1]
        index = int(torch.searchsorted(sums, point, right=True).clamp(max=len(sums) - 1))
        return index if tokens is None else int(tokens[index])

    return draw


def _filter(probabilities: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor | None]:
    """The probabilities after min-p, top-k and top-p, not normalised, and their tokens; None for all tokens in order."""
    if sampling.min_p == 0 and sampling.top_k == 0:
        return _top_p(probabilities, sampling.top_p)
    least = probabilities.max() * sampling.min_p
    if 0 < sampling.top_k < len(probabilities):
        least = torch.maximum(least, probabilities.topk(sampling.top_k).values[-1])
    tokens = ((probabilities >= least) & (probabilities > 0)).nonzero().flatten()
    filtered, indices = _top_p(probabilities[tokens] / probabilities[tokens].sum(), sampling.top_p)
    return filtered, tokens if indices is None else tokens[indices]


def _top_p(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor | None]:
    """The probabilities and indices of the fewest tokens that reach `top_p`, likeliest first; all, and None, for 1."""
    if top_p >= 1:
        return probabilities, None
    values, tokens = probabilities.topk(min(TOP_P_CANDIDATES, len(probabilities)))
    if float(values.sum()) < top_p:
        values, tokens = probabilities.sort(descending=True)
    count = int((values.cumsum(0) < top_p).sum()) + 1
    return values[:count], tokens[:count]
