"""Constrained decoding: masks the tokens that a grammar does not allow next, with llguidance."""

import numpy as np
import torch
from llguidance import LLMatcher
from torch import Tensor

from pixtral_cli.engines.local.generation.grammar import LIMITS, shorten
from pixtral_cli.engines.local.generation.sampling import Sampler
from pixtral_cli.engines.local.tokens.number_length import NumberLength
from pixtral_cli.engines.local.tokens.vocabulary import Vocabulary
from pixtral_cli.errors import PixtralError

MASK_VALUES = np.array([-np.inf, 0], dtype=np.float32)


class Constraint:
    """The state of one answer in its grammar. Every token of the answer is chosen by a sampler from `constrain`."""

    def __init__(self, vocabulary: Vocabulary, grammar: str) -> None:
        tokenizer = vocabulary.tokenizer
        self._matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LIMITS)
        self._eos = tokenizer.eos_token
        self._vocab_size = tokenizer.vocab_size
        self._bits = np.zeros((tokenizer.vocab_size + 31) // 32, dtype=np.uint32)
        self._numbers = NumberLength(vocabulary)

    @property
    def complete(self) -> bool:
        """Whether only the end of text may follow."""
        return self._matcher.is_stopped()

    def constrain(self, sample: Sampler, *, unmasked_first: bool = False) -> Sampler:
        """A sampler that applies `sample` to the tokens that the grammar allows next.

        With `unmasked_first`, `sample` chooses among all tokens and its choice is kept if it is allowed, which skips
        computing the mask. The distribution is the same where `sample` treats tokens independently: greedy, or without
        top-p. The sampler raises PixtralError when the grammar exceeds llguidance's limits.
        """

        def constrained(logits: Tensor) -> int:
            if unmasked_first and self._try_consume(token := sample(logits)):
                return token
            token = sample(logits + self._mask(len(logits)).to(logits.device))
            if token != self._eos:
                self._matcher.consume_token(token)
                self._numbers.add(token)
                self._raise_error()
            return token

        return constrained

    def _try_consume(self, token: int) -> bool:
        """Consume the token if the grammar allows it; returns whether it did."""
        if self.complete or token >= self._vocab_size or not self._numbers.allows(token):
            return False
        consumed = self._matcher.try_consume_tokens([token]) == 1
        if consumed:
            self._numbers.add(token)
        self._raise_error()
        return consumed

    def _mask(self, count: int) -> Tensor:
        """(count,): 0 for tokens allowed next, minus infinity for others and for those outside the tokenizer."""
        self._raise_error()
        if self.complete:
            self._bits.fill(0)
            self._bits[self._eos // 32] = 1 << self._eos % 32
        else:
            self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
            self._raise_error()
        allowed = np.unpackbits(self._bits.view(np.uint8), count=count, bitorder="little")
        too_long = self._numbers.too_long(count)
        if too_long is not None and (shorter := allowed & ~too_long).any():  # else the schema requires so long a number
            allowed = shorter
        return torch.from_numpy(MASK_VALUES[allowed])

    def _raise_error(self) -> None:
        if self._matcher.is_error():
            why = self._matcher.get_error()
            raise PixtralError(shorten(f"The answer cannot be held to the schema: {why}"), "Simplify the schema")
