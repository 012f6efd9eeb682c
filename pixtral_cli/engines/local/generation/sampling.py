"""Samplers: functions from logits to a token, built once per answer."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from pixtral_cli.chat.engine import Sampling

Sampler = Callable[[Tensor], int]
TOP_P_CANDIDATES = 1024  # likeliest tokens tried before all are sorted


class NonFiniteLogits(Exception):
    """The model computed a logit that is NaN or infinite."""


class Constrain(Protocol):
    """Restricts a sampler to some tokens; see `constraint.Constraint.constrain`."""

    def __call__(self, sample: Sampler, *, unmasked_first: bool) -> Sampler: ...


def make_sampler(sampling: Sampling, constrain: Constrain | None = None) -> Sampler:
    """A function from logits (vocabulary,) to a token. Equal seeds give equal tokens for equal logits.

    The function raises NonFiniteLogits when a logit is NaN or infinite.
    """
    greedy = sampling.temperature == 0
    sample = _greedy if greedy else _multinomial(sampling)
    independent = greedy or sampling.top_p >= 1  # no token's chance depends on another's
    return _check_logits(constrain(sample, unmasked_first=independent) if constrain else sample)


def _greedy(logits: Tensor) -> int:
    return int(logits.argmax())


def _multinomial(sampling: Sampling) -> Sampler:
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)

    def draw(logits: Tensor) -> int:
        values = logits.cpu().double()
        probabilities = torch.softmax(
            (values - values.max()) / sampling.temperature, dim=-1
        )  # the maximum first: no infinite quotient
        kept, tokens = _top_p(probabilities, sampling.top_p)
        sums = kept.cumsum(0)
        point = torch.rand((), generator=generator, dtype=torch.double) * sums[-1]
        place = int(torch.searchsorted(sums, point, right=True).clamp(max=len(sums) - 1))
        return place if tokens is None else int(tokens[place])

    return draw


def _top_p(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor | None]:
    """The fewest tokens whose probabilities reach `top_p`, likeliest first; all in order when it is 1."""
    if top_p >= 1:
        return probabilities, None
    values, tokens = probabilities.topk(min(TOP_P_CANDIDATES, len(probabilities)))
    if float(values.sum()) < top_p:
        values, tokens = probabilities.sort(descending=True)
    count = int((values.cumsum(0) < top_p).sum()) + 1
    return values[:count], tokens[:count]


def _check_logits(sample: Sampler) -> Sampler:
    def checked(logits: Tensor) -> int:
        if not torch.isfinite(logits).all():
            raise NonFiniteLogits
        return sample(logits)

    return checked
