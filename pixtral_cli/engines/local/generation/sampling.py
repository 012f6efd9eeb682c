"""How the next token is chosen: decided once, outside the loop. Knows logits and nothing else."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from pixtral_cli.chat.engine import Sampling

Sampler = Callable[[Tensor], int]
NUCLEUS = 1024  # how many of the likeliest tokens are tried before all are sorted


class NotFinite(Exception):
    """The model computed a value that is not a number."""


class Narrow(Protocol):
    """Makes of a sampler one that chooses among fewer tokens; those left out are at minus infinity.

    `trying`: a choice among all is as good where it is one of those.
    """

    def __call__(self, choose: Sampler, *, trying: bool) -> Sampler: ...


def make_sampler(sampling: Sampling, narrow: Narrow | None = None) -> Sampler:
    """A function from logits (vocabulary,) to a token. Equal seeds give equal tokens for equal logits.

    The function raises NotFinite when a logit of the model is not a finite number.
    """
    greedy = sampling.temperature == 0
    choose = _greedy if greedy else _drawing(sampling)
    return _checked(narrow(choose, trying=greedy or sampling.top_p >= 1) if narrow else choose)


def _greedy(logits: Tensor) -> int:
    return int(logits.argmax())


def _drawing(sampling: Sampling) -> Sampler:
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)

    def draw(logits: Tensor) -> int:
        values = logits.cpu().double()
        probabilities = torch.softmax((values - values.max()) / sampling.temperature, dim=-1)  # no infinite quotient
        kept, tokens = _nucleus(probabilities, sampling.top_p)
        sums = kept.cumsum(0)
        point = torch.rand((), generator=generator, dtype=torch.double) * sums[-1]
        place = int(torch.searchsorted(sums, point, right=True).clamp(max=len(sums) - 1))
        return place if tokens is None else int(tokens[place])

    return draw


def _nucleus(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor | None]:
    """The fewest tokens whose probabilities reach `top_p`, likeliest first; all in order when it is 1."""
    if top_p >= 1:
        return probabilities, None
    values, tokens = probabilities.topk(min(NUCLEUS, len(probabilities)))
    if float(values.sum()) < top_p:
        values, tokens = probabilities.sort(descending=True)
    count = int((values.cumsum(0) < top_p).sum()) + 1
    return values[:count], tokens[:count]


def _checked(choose: Sampler) -> Sampler:
    def choose_checked(logits: Tensor) -> int:
        if not torch.isfinite(logits).all():
            raise NotFinite
        return choose(logits)

    return choose_checked
