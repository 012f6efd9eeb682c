"""Samplers: functions from logits to a token, built once per answer."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.engines.local.generation.logit_adjuster import LogitAdjuster

Sampler = Callable[[Tensor], int]
TOP_P_CANDIDATES = 1024  # likeliest tokens tried before all are sorted


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
    """A function from logits (vocabulary,) to a token, to be called for each token of one answer in turn.

    Equal seeds give equal tokens for equal logits. `prompt` are the tokens that a repetition penalty holds for besides
    the answer's. `record` is called with the model's own logits and the token chosen. Which tokens were drafted makes no
    difference: the penalties count the tokens chosen.

    The function raises NonFiniteLogits when a logit is NaN or infinite.
    """
    greedy = sampling.temperature == 0
    sample = _greedy if greedy else _multinomial(sampling)
    independent = greedy or not _filters(sampling)  # no token's chance depends on another's
    chosen = constrain(sample, unmasked_first=independent) if constrain else sample
    adjuster = LogitAdjuster(sampling, prompt) if LogitAdjuster.is_needed(sampling) else None

    def checked(logits: Tensor) -> int:
        if not torch.isfinite(logits).all():
            raise NonFiniteLogits
        token = chosen(adjuster(logits) if adjuster else logits)
        if adjuster:
            adjuster.add(token)
        if record:
            record(logits, token)
        return token

    return checked


def _filters(sampling: Sampling) -> bool:
    """Whether unlikely tokens are left out."""
    return sampling.top_p < 1 or sampling.top_k > 0 or sampling.min_p > 0


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
        kept, tokens = _kept(probabilities, sampling)
        sums = kept.cumsum(0)
        point = torch.rand((), generator=generator, dtype=torch.double) * sums[-1]
        place = int(torch.searchsorted(sums, point, right=True).clamp(max=len(sums) - 1))
        return place if tokens is None else int(tokens[place])

    return draw


def _kept(probabilities: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor | None]:
    """Probabilities, not normalised, and their tokens after min-p, top-k and top-p; all tokens in order without them."""
    if sampling.min_p == 0 and sampling.top_k == 0:
        return _top_p(probabilities, sampling.top_p)
    least = probabilities.max() * sampling.min_p
    if 0 < sampling.top_k < len(probabilities):
        least = torch.maximum(least, probabilities.topk(sampling.top_k).values[-1])
    tokens = ((probabilities >= least) & (probabilities > 0)).nonzero().flatten()
    kept, places = _top_p(probabilities[tokens] / probabilities[tokens].sum(), sampling.top_p)
    return kept, tokens if places is None else tokens[places]


def _top_p(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor | None]:
    """The fewest tokens whose probabilities reach `top_p`, likeliest first; all in order when it is 1."""
    if top_p >= 1:
        return probabilities, None
    values, tokens = probabilities.topk(min(TOP_P_CANDIDATES, len(probabilities)))
    if float(values.sum()) < top_p:
        values, tokens = probabilities.sort(descending=True)
    count = int((values.cumsum(0) < top_p).sum()) + 1
    return values[:count], tokens[:count]
