"""Holds one answer to a grammar, token by token, by llguidance. Leaves choosing among what is allowed to `sampling`."""

import numpy as np
import torch
from llguidance import LLMatcher
from torch import Tensor

from pixtral_cli.engines.local.generation.grammar import LIMITS, cut
from pixtral_cli.engines.local.generation.sampling import Sampler
from pixtral_cli.engines.local.tokens.vocabulary import Vocabulary
from pixtral_cli.errors import PixtralError

PENALTY = np.array([-np.inf, 0], dtype=np.float32)


class Guide:
    """How far an answer has come in its grammar. Its tokens are chosen through `over`, one after the other."""

    def __init__(self, vocabulary: Vocabulary, grammar: str) -> None:
        tokenizer = vocabulary.tokenizer
        self._matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LIMITS)
        self._eos = tokenizer.eos_token
        self._known = tokenizer.vocab_size
        self._bits = np.zeros((tokenizer.vocab_size + 31) // 32, dtype=np.uint32)

    @property
    def ended(self) -> bool:
        """Whether nothing but the end of text may follow."""
        return self._matcher.is_stopped()

    def over(self, choose: Sampler, *, trying: bool = False) -> Sampler:
        """A sampler that chooses as `choose` does, among the tokens that the grammar allows next.

        `trying`: `choose` may choose among all first, and what it chooses is kept if it is allowed. That costs next to
        nothing, and is the same choice where `choose` weighs each token alone: the greatest, or a draw without top-p.
        It raises PixtralError when the grammar is more than llguidance can follow.
        """

        def pick(logits: Tensor) -> int:
            if trying and self._takes(token := choose(logits)):
                return token
            token = choose(logits + self._penalties(len(logits)).to(logits.device))
            if token != self._eos:
                self._matcher.consume_token(token)
                self._check()
            return token

        return pick

    def _takes(self, token: int) -> bool:
        """Whether the token may come next, and then the answer has come so far."""
        if self.ended or token >= self._known:
            return False
        taken = self._matcher.try_consume_tokens([token]) == 1
        self._check()
        return taken

    def _penalties(self, count: int) -> Tensor:
        """Of `count` tokens: 0 if one may come next, else minus infinity, as for those that the tokenizer does not know."""
        self._check()
        if self.ended:
            self._bits.fill(0)
            self._bits[self._eos // 32] = 1 << self._eos % 32
        else:
            self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
            self._check()
        return torch.from_numpy(PENALTY[np.unpackbits(self._bits.view(np.uint8), count=count, bitorder="little")])

    def _check(self) -> None:
        if self._matcher.is_error():
            why = self._matcher.get_error()
            raise PixtralError(cut(f"The answer cannot be held to the schema: {why}"), "Simplify the schema")
