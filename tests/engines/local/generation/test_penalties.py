"""Penalties, biases and filters are those of transformers and vLLM, value for value; neutral ones change no bit."""

from dataclasses import replace

import pytest
import torch
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.engines.local.generation.logit_adjuster import LogitAdjuster
from pixtral_cli.engines.local.generation.logprobs import LogprobRecorder
from pixtral_cli.engines.local.generation.sampling import make_sampler

VOCABULARY = 200
PROMPT = [3, 5, 5, 7, 190]
ANSWER = [5, 11, 11, 11, 42]


def logits(seed: int = 0, count: int = VOCABULARY) -> torch.Tensor:
    return 4 * torch.randn(count, generator=torch.Generator().manual_seed(seed))


def adjusted(sampling: Sampling, row: torch.Tensor, *, late: bool = False) -> torch.Tensor:
    """The logits after PROMPT and ANSWER; `late`: the adjuster has seen logits before it is told the answer."""
    adjuster = LogitAdjuster(sampling, PROMPT)
    if late:
        adjuster(row)
    for token in ANSWER:
        adjuster.add(token)
    return adjuster(row)


def vllm_penalties(row: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """vLLM's definition, token by token (vllm/model_executor/layers/utils.py and its logit bias processor)."""
    values = row.tolist()
    for token, bias in sampling.logit_bias.items():
        values[token] += bias
    for token in range(len(values)):
        count = ANSWER.count(token)
        if token in PROMPT or count:
            values[token] *= (1 / sampling.repetition_penalty) if values[token] > 0 else sampling.repetition_penalty
        values[token] -= sampling.frequency_penalty * count
        values[token] -= sampling.presence_penalty * (count > 0)
    return torch.tensor(values)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(repetition_penalty=1.3), Sampling(repetition_penalty=0.7), Sampling(frequency_penalty=0.8),
        Sampling(presence_penalty=-1.5), Sampling(logit_bias={5: -100, 42: 3.5, 0: 1}),
        Sampling(repetition_penalty=1.1, frequency_penalty=-2, presence_penalty=2, logit_bias={11: 7, 8: -7}),
    ],
)  # fmt: skip
def test_penalties_are_vllms(sampling: Sampling, late: bool) -> None:
    row = logits()
    torch.testing.assert_close(adjusted(sampling, row, late=late), vllm_penalties(row, sampling))


@pytest.mark.parametrize("penalty", [0.5, 1.2, 3.0])
def test_the_repetition_penalty_and_the_bias_are_transformers(penalty: float) -> None:
    row, bias = logits(1), {5: -4.0, 20: 6.0}
    processors = LogitsProcessorList(
        [
            SequenceBiasLogitsProcessor([[[token], value] for token, value in bias.items()]),
            RepetitionPenaltyLogitsProcessor(penalty),
        ]
    )
    expected = processors(torch.tensor([PROMPT + ANSWER]), row[None])[0]
    torch.testing.assert_close(adjusted(Sampling(repetition_penalty=penalty, logit_bias=bias), row), expected)


@pytest.mark.parametrize(
    ("top_k", "min_p", "top_p"), [(5, 0, 1), (0, 0.1, 1), (0, 0, 0.8), (7, 0, 0.7), (150, 0.01, 0.95), (1, 0.5, 0.1)]
)
@pytest.mark.parametrize("temperature", [0.7, 1.5])
def test_tokens_are_drawn_from_what_the_filters_leave(
    top_k: int, min_p: float, top_p: float, temperature: float
) -> None:
    """vLLM's order: temperature, min-p, top-k, top-p; the filters themselves are transformers'."""
    row = logits(2)
    warpers = [TemperatureLogitsWarper(temperature)]
    warpers += [MinPLogitsWarper(min_p)] if min_p else []
    warpers += [TopKLogitsWarper(top_k)] if top_k else []
    warpers += [TopPLogitsWarper(top_p)] if top_p < 1 else []
    expected = LogitsProcessorList(warpers)(torch.tensor([PROMPT]), row[None])[0].softmax(-1)
    pick = make_sampler(Sampling(temperature, top_p, seed=1, top_k=top_k, min_p=min_p))
    drawn = torch.bincount(torch.tensor([pick(row) for _ in range(4000)]), minlength=VOCABULARY) / 4000
    assert not drawn[expected == 0].any()
    torch.testing.assert_close(drawn, expected, atol=0.035, rtol=0)


def test_neutral_values_change_no_choice() -> None:
    rows = [logits(seed) for seed in range(50)]
    plain = Sampling(1.0, 0.9, seed=3)
    neutral = replace(plain, top_k=VOCABULARY, min_p=0.0, repetition_penalty=1.0, logit_bias={})
    one, two = make_sampler(plain, None, PROMPT), make_sampler(neutral, None, PROMPT)
    assert [one(row) for row in rows] == [two(row) for row in rows]
    assert not LogitAdjuster.is_needed(Sampling())


def test_a_greedy_answer_does_not_repeat_itself_under_a_penalty() -> None:
    row = torch.tensor([0.0, 3.0, 2.9, 2.5])
    pick = make_sampler(Sampling(0, presence_penalty=1.0))
    assert [pick(row) for _ in range(4)] == [1, 2, 3, 1]


def test_log_probabilities_are_the_models_own() -> None:
    row = logits(4)
    recorder = LogprobRecorder(3, lambda token: b"%d" % token)
    token = make_sampler(Sampling(0, logit_bias={17: 100}), None, (), recorder.record)(row)
    expected = row.double().softmax(-1).log()
    assert token == 17
    assert recorder.last
    assert recorder.last.data == b"17"
    assert recorder.last.logprob == pytest.approx(float(expected[17]), abs=1e-5)
    best = expected.topk(3)
    assert [int(one.data) for one in recorder.last.top] == best.indices.tolist()
    assert [one.logprob for one in recorder.last.top] == pytest.approx(best.values.tolist(), abs=1e-5)
