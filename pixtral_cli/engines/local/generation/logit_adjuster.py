"""Logit bias and the repetition, frequency and presence penalties."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pixtral_cli.chat.engine import Sampling


class LogitAdjuster:
    """Adjusts the logits of one answer. `add` must be called with each token of the answer.

    Order and definitions are those of vLLM and transformers: the bias is added; the logits of tokens in the prompt or
    the answer are divided by the repetition penalty where positive, else multiplied by it (arXiv 1909.05858); then the
    frequency penalty times a token's count in the answer is subtracted, and the presence penalty where it is not 0.
    """

    def __init__(self, sampling: Sampling, prompt: Sequence[int]) -> None:
        self._sampling = sampling
        self._prompt = prompt
        self._answer: list[int] = []
        self._counts: Tensor | None = None  # (vocabulary,): number of occurrences in the answer
        self._repeated: Tensor | None = None  # (vocabulary,): whether it occurs in the prompt or the answer
        self._bias: Tensor | None = None

    @staticmethod
    def is_needed(sampling: Sampling) -> bool:
        """Whether any parameter changes a logit."""
        return bool(
            sampling.logit_bias
            or sampling.repetition_penalty != 1
            or sampling.frequency_penalty
            or sampling.presence_penalty
        )

    def add(self, token: int) -> None:
        """Count the next token of the answer."""
        self._answer.append(token)
        if self._counts is not None and self._repeated is not None:
            self._counts[token] += 1
            self._repeated[token] = True

    def __call__(self, logits: Tensor) -> Tensor:
        """New logits (vocabulary,) in single precision, on the same device."""
        values = logits.float()
        if self._counts is None:
            self._allocate(values)
        assert self._counts is not None and self._repeated is not None
        sampling = self._sampling
        if self._bias is not None:
            values = values + self._bias
        if (penalty := sampling.repetition_penalty) != 1:
            values = torch.where(self._repeated, torch.where(values > 0, values / penalty, values * penalty), values)
        if sampling.frequency_penalty:
            values = values - sampling.frequency_penalty * self._counts
        if sampling.presence_penalty:
            values = values - sampling.presence_penalty * (self._counts > 0)
        return values

    def _allocate(self, like: Tensor) -> None:
        """Create the tensors of shape (vocabulary,) on the device of `like`."""
        answer = torch.tensor(self._answer, dtype=torch.long, device=like.device)
        self._counts = torch.zeros_like(like).index_add_(0, answer, torch.ones_like(answer, dtype=like.dtype))
        self._repeated = torch.zeros_like(like, dtype=torch.bool)
        if self._sampling.repetition_penalty != 1:
            occurring = torch.tensor(list({*self._prompt, *self._answer}), dtype=torch.long, device=like.device)
            self._repeated[occurring] = True
        if bias := self._sampling.logit_bias:
            tokens = torch.tensor(list(bias), dtype=torch.long, device=like.device)
            self._bias = torch.zeros_like(like)
            self._bias[tokens] = torch.tensor(list(bias.values()), dtype=like.dtype, device=like.device)
