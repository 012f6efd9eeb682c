"""Holds an answer with tools to what was chosen: text, calls or either; and every call to its tool's schema."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from pixtral_cli.engines.local.generation.constraint import Constraint
from pixtral_cli.engines.local.generation.sampling import Sampler

State = Literal["text", "required", "thinking", "calls"]


class ToolConstraint:
    """The state of one answer. It begins as text in which a call may come, or where one is `required` with the call.

    A reasoning model may think before a required call: `think_tokens` are those around it. `text` is the constraint of
    an answer that makes no call; `begin_calls` makes that of the calls, once there is one.
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
        self._in_thought = False
        self._begun = False  # whether there is a token of the text

    @property
    def complete(self) -> bool:
        """Whether only the end of text may follow."""
        constraint = self._calls or self._text
        return constraint is not None and constraint.complete

    def constrain(self, sample: Sampler, *, unmasked_first: bool = False) -> Sampler:
        """See `Constraint.constrain`."""
        in_text = self._text.constrain(sample, unmasked_first=unmasked_first) if self._text else None
        in_calls: Sampler | None = None

        def constrained(logits: Tensor) -> int:
            nonlocal in_calls
            if self._state == "calls" and in_calls:
                return in_calls(logits)
            token = self._outside_of_calls(logits, sample, in_text)
            self._follow_thought(token)
            if token == self._tool_calls and not self._in_thought:
                self._state, self._calls = "calls", self._begin_calls()
                in_calls = self._calls.constrain(sample, unmasked_first=unmasked_first)
            self._begun = True
            return token

        return constrained

    def _follow_thought(self, token: int) -> None:
        start, end = self._think_tokens or (-1, -1)
        if token in (start, end):
            self._in_thought = token == start

    def _outside_of_calls(self, logits: Tensor, sample: Sampler, in_text: Sampler | None) -> int:
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
        if in_text is None:
            return sample(logits)
        if not self._begun and sample(logits) == self._tool_calls:
            return self._tool_calls
        return in_text(logits)


def _without(logits: Tensor, token: int) -> Tensor:
    masked = logits.clone()
    masked[token] = -torch.inf
    return masked
