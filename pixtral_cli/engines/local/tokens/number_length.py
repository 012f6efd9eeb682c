"""Bounds the digits of numbers in JSON that is being written. A schema's grammar does not: a model may go on for ever."""

import numpy as np
from numpy.typing import NDArray

from pixtral_cli.engines.local.tokens.vocabulary import Vocabulary

MAX_DIGITS = 20  # one after another: what the largest whole number of 64 bits has
MAX_EXPONENT_DIGITS = 2  # so that the number is finite


class NumberLength:
    """Follows the tokens of one answer; digits within strings are not counted."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._run = 0  # digits that end what is written so far
        self._in_string = self._escaped = self._in_exponent = False

    def add(self, token: int) -> None:
        """The next token of the answer."""
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
        """Whether the number that is being written stays within the bound with this token."""
        return self._is_free or int(self._vocabulary.leading_digits[token]) <= self._left

    def too_long(self, count: int) -> "NDArray[np.bool_] | None":
        """(count,): the tokens that are not allowed next; None where all are."""
        if self._is_free:
            return None
        found = np.zeros(count, dtype=np.bool_)
        digits = self._vocabulary.leading_digits[:count]
        found[: len(digits)] = digits > self._left
        return found

    @property
    def _is_free(self) -> bool:
        return self._in_string or self._vocabulary.most_digits <= self._left

    @property
    def _left(self) -> int:
        """Digits that may follow at once."""
        return (MAX_EXPONENT_DIGITS if self._in_exponent else MAX_DIGITS) - self._run
