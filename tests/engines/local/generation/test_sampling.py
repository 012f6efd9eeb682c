"""Tokens are drawn as often as they should be, from the nucleus alone, and the same for the same seed."""

import pytest
import torch

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.engines.local.generation.sampling import NonFiniteLogits, Sampler, make_sampler


def draws(sampling: Sampling, logits: torch.Tensor, count: int = 4000) -> torch.Tensor:
    """How often each token is drawn."""
    pick = make_sampler(sampling)
    return torch.bincount(torch.tensor([pick(logits) for _ in range(count)]), minlength=len(logits)) / count


def test_temperature_zero_takes_the_likeliest() -> None:
    assert make_sampler(Sampling(temperature=0))(torch.tensor([0.0, 2.0, 1.9])) == 1


@pytest.mark.parametrize("temperature", [0.35, 1.0, 3.0])
def test_tokens_come_as_often_as_their_probability(temperature: float) -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5, -40.0])
    expected = torch.softmax(logits / temperature, 0)
    torch.testing.assert_close(draws(Sampling(temperature, seed=1), logits), expected, atol=0.03, rtol=0)


def test_top_p_draws_from_the_fewest_tokens_that_reach_it() -> None:
    logits = torch.tensor([0.4, 0.1, 0.3, 0.2]).log()
    torch.testing.assert_close(
        draws(Sampling(1.0, 0.65, seed=1), logits), torch.tensor([4 / 7, 0, 3 / 7, 0]), atol=0.03, rtol=0
    )
    assert draws(Sampling(1.0, 0.0, seed=1), logits, 50)[0] == 1
    assert (draws(Sampling(1.0, 0.999, seed=1), logits) > 0).all()


def test_a_flat_distribution_over_a_large_vocabulary() -> None:
    """The nucleus is then larger than what is looked at first."""
    pick = make_sampler(Sampling(1.0, 0.9, seed=1))
    tokens = [pick(torch.zeros(5000)) for _ in range(300)]
    assert max(tokens) > 4000
    assert len(set(tokens)) > 250


def test_a_seed_decides() -> None:
    logits = torch.randn(100)
    one, two, other = (make_sampler(Sampling(1.0, seed=seed)) for seed in (7, 7, 8))
    answers = [[pick(logits) for _ in range(20)] for pick in (one, two, other)]
    assert answers[0] == answers[1] != answers[2]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(), Sampling(1.0, 0.5)])
def test_a_logit_that_is_not_a_number_is_no_token(sampling: Sampling, bad: float) -> None:
    with pytest.raises(NonFiniteLogits):
        make_sampler(sampling)(torch.tensor([1.0, bad, 0.0]))


@pytest.mark.parametrize("temperature", [1e-9, 1e-300, 5e-324])
def test_a_tiny_temperature_is_as_good_as_none(temperature: float) -> None:
    assert draws(Sampling(temperature, seed=1), torch.tensor([80.0, 90.0, 89.9]), 50)[1] == 1
    assert draws(Sampling(temperature, 0.5, seed=1), torch.tensor([-80.0, -9.0, -9.1]), 50)[1] == 1


@pytest.mark.parametrize("temperature", [1e9, 1e308])
def test_a_huge_temperature_draws_all_alike(temperature: float) -> None:
    found = draws(Sampling(temperature, seed=1), torch.tensor([80.0, 90.0, 10.0]))
    torch.testing.assert_close(found, torch.full((3,), 1 / 3), atol=0.03, rtol=0)


def test_only_where_no_token_depends_on_another_is_the_unmasked_choice_tried_first() -> None:
    seen: list[bool] = []

    def constrain(sample: Sampler, *, unmasked_first: bool) -> Sampler:
        seen.append(unmasked_first)
        return sample

    for sampling in (
        Sampling(0), Sampling(1.0, 1.0), Sampling(1.0, 0.5), Sampling(1.0, top_k=3), Sampling(1.0, min_p=0.1), Sampling(0, 0.5),
    ):  # fmt: skip
        make_sampler(sampling, constrain)
    assert seen == [True, True, False, False, False, True]
