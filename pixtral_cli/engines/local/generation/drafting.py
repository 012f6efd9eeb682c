"""Guesses an answer's next tokens from the conversation's own: an edit repeats most of what it edits. Knows no model."""

from collections.abc import Sequence

GRAM = 3  # tokens that must have stood together before
LONGEST = 15  # tokens guessed at a time; a step of 16 costs about three of one, on two cores


class Lookup:
    """What followed the last tokens where they stood before. Guesses more while it is right, and less often when wrong."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = list(tokens)
        self._follows: dict[tuple[int, ...], int] = {}  # the place after the latest such tokens
        self._indexed = GRAM  # the places before this one are in there
        self._length, self._needed = GRAM, GRAM

    def add(self, token: int) -> None:
        """The next token of the conversation."""
        self._tokens.append(token)

    def guess(self, most: int, guessed: int = 0, right: int = 0) -> list[int]:
        """At most so many tokens that may follow; none where nothing suggests any. `right` of the last guess's were."""
        self._learn(guessed, right)
        self._index()
        place = self._follows.get(tuple(self._tokens[-GRAM:]))
        if place is None or self._tokens[max(0, place - self._needed) : place] != self._tokens[-self._needed :]:
            return []
        return self._tokens[place : place + max(0, min(self._length, most))]

    def _index(self) -> None:
        """Not before a guess is wanted: of a long prompt it takes a while, and the first token is not to wait for it."""
        for place in range(self._indexed, len(self._tokens)):
            self._follows[tuple(self._tokens[place - GRAM : place])] = place
        self._indexed = max(GRAM, len(self._tokens))

    def _learn(self, guessed: int, right: int) -> None:
        if guessed and right == guessed:
            self._length, self._needed = min(2 * self._length + 1, LONGEST), GRAM
        elif guessed and not right:
            self._length, self._needed = GRAM, min(2 * self._needed, 8 * GRAM)
