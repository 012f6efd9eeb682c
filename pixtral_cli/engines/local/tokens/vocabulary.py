"""A tokenizer's vocabulary in llguidance's form, for constrained decoding."""

from functools import cached_property
from typing import Any

import numpy as np
from llguidance import LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray


class Vocabulary:
    """The tokens of a tokenizer. Creating it takes a second for 131,072 tokens, so it is created once per tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer` has `tokens` (bytes), `special_token_ids`, `eos_token_id` and `bos_token_id`."""
        self.tokenizer = LLTokenizer(TokenizerWrapper(tokenizer))
        self._tokens: list[bytes] = tokenizer.tokens
        self._special = frozenset(tokenizer.special_token_ids)

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token; b"" for a special token and for one outside the vocabulary."""
        return b"" if token in self._special or not 0 <= token < len(self._tokens) else self._tokens[token]

    @cached_property
    def leading_digits(self) -> NDArray[np.int32]:
        """The number of digits with which each token begins: (tokens,)."""
        counts = [len(data) - len(data.lstrip(b"0123456789")) for data in map(self.bytes_of, range(len(self._tokens)))]
        return np.array(counts, dtype=np.int32)

    @cached_property
    def max_leading_digits(self) -> int:
        """The largest number of leading digits of any token."""
        return int(self.leading_digits.max(initial=1))
