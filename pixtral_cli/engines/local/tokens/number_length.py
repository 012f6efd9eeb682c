"""Limits the digits of numbers in generated JSON. Schemas do not limit them, so a model may write digits without end."""

import numpy as np
from numpy.typing import NDArray

from pixtral_cli.engines.local.tokens.vocabulary import Vocabulary

MAX_DIGITS = 20  # consecutive; the largest 64-bit integer has as many
MAX_EXPONENT_DIGITS = 2  # so that the number is finite


class NumberLength:
    """Counts the digits of the current number of one answer; digits in strings are not counted."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._run = 0  # consecutive digits at the end of the answer so far
        self._in_string = self._escaped = self._in_exponent = False

    def add(self, token: int) -> None:
        """Count the next token of the answer."""
        for byte in self._vocabulary.bytes_of(token):
            if self._in_string:
                self._in_string = self._escaped or byte != ord('"')
                self._escaped = byte == ord("\\") and not self._escaped
            else:
                self._in_string = byte == ord('"')
                is_digit = ord("0") <= byte <= ord("9")
                self._run = self._run + 1 if is_digit else 0
                self._in_exponent = byte in b"eE" or (self._in_exponent and (is_digit or byte in b"+-"))

    def allows(self, token: int) -> bool:
        """Whether the current number stays within the limit with this token."""
        return self._allows_all or int(self._vocabulary.leading_digits[token]) <= self._remaining

    def too_long(self, count: int) -> "NDArray[np.bool_] | None":
        """Which of the first `count` tokens exceed the limit, (count,); None where none does."""
        if self._allows_all:
            return None
        exceeding = np.zeros(count, dtype=np.bool_)
        digits = self._vocabulary.leading_digits[:count]
        exceeding[: len(digits)] = digits > self._remaining
        return exceeding

    @property
    def _allows_all(self) -> bool:
        """Whether no token can exceed the limit."""
        return self._in_string or self._vocabulary.max_leading_digits <= self._remaining

    @property
    def _remaining(self) -> int:
        """Digits that may follow directly."""
        return (MAX_EXPONENT_DIGITS if self._in_exponent else MAX_DIGITS) - self._run
