"""Constrains an answer with tools: to text, calls or either, by `tool_choice`; and each call to its tool's schema."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from pixtral_cli.engines.local.generation.constraint import Constraint
from pixtral_cli.engines.local.generation.sampling import Sampler

State = Literal["text", "required", "thinking", "calls"]


class ToolConstraint:
    """The state of one answer. It begins as text, in which a call may follow, or with the call where one is `required`.

    `tool_calls`: the token with which calls begin; `think_tokens`: those around reasoning, which may precede a required
    call; `text`: the constraint of an answer without calls; `begin_calls` returns the constraint of the calls.
    """

    def __init__(
        self,
        begin_calls: Callable[[], Constraint],
        tool_calls: int,
        *,
        required: bool,
        text: Constraint | None = None,
        think_tokens: tuple[int, int] | None = None,
    ) -> None:
        self._begin_calls, self._tool_calls = begin_calls, tool_calls
        self._text = text
        self._think_tokens = think_tokens
        self._state: State = "required" if required else "text"
        self._calls: Constraint | None = None
        self._thinking = False
        self._begun = False  # whether a token was chosen

    @property
    def complete(self) -> bool:
        """Whether only the end of text may follow."""
        constraint = self._calls or self._text
        return constraint is not None and constraint.complete

    def constrain(self, sample: Sampler, *, unmasked_first: bool = False) -> Sampler:
        """See `Constraint.constrain`."""
        sample_text = self._text.constrain(sample, unmasked_first=unmasked_first) if self._text else None
        sample_calls: Sampler | None = None

        def constrained(logits: Tensor) -> int:
            nonlocal sample_calls
            if self._state == "calls" and sample_calls:
                return sample_calls(logits)
            token = self._sample_before_calls(logits, sample, sample_text)
            self._update_thinking(token)
            if token == self._tool_calls and not self._thinking:
                self._state, self._calls = "calls", self._begin_calls()
                sample_calls = self._calls.constrain(sample, unmasked_first=unmasked_first)
            self._begun = True
            return token

        return constrained

    def _update_thinking(self, token: int) -> None:
        start, end = self._think_tokens or (-1, -1)
        if token in (start, end):
            self._thinking = token == start

    def _sample_before_calls(self, logits: Tensor, sample: Sampler, sample_text: Sampler | None) -> int:
        """The next token of text or reasoning, or the token with which calls begin."""
        start, end = self._think_tokens or (-1, -1)
        if self._state == "required":
            if start >= 0 and not self._begun and sample(logits) == start:
                self._state = "thinking"
                return start
            return self._tool_calls
        if self._state == "thinking":
            token = sample(_without(logits, self._tool_calls))
            if token == end:
                self._state = "required"
            return token
        if sample_text is None:
            return sample(logits)
        if not self._begun and sample(logits) == self._tool_calls:
            return self._tool_calls
        return sample_text(logits)


def _without(logits: Tensor, token: int) -> Tensor:
    """The logits with minus infinity for one token."""
    masked = logits.clone()
    masked[token] = -torch.inf
    return masked
