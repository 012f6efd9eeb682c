"""Prompt lookup (n-gram drafting): drafts the next tokens from the conversation itself, for speculative decoding."""

from collections.abc import Sequence

NGRAM = 3  # tokens that must match for a draft
MAX_DRAFT = 15  # on two cores a step of 16 tokens takes about three times as long as a step of one


class PromptLookup:
    """Drafts what followed the latest earlier occurrence of the last tokens.

    Drafts grow while they are accepted; after a rejected one a longer match is required.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = list(tokens)
        self._follows: dict[tuple[int, ...], int] = {}  # n-gram to the position after its last occurrence
        self._indexed = NGRAM  # positions before this one are in `_follows`
        self._draft_length, self._required_match = NGRAM, NGRAM

    def add(self, token: int) -> None:
        """Append the next token of the conversation."""
        self._tokens.append(token)

    def draft(self, limit: int, drafted: int = 0, accepted: int = 0) -> list[int]:
        """At most `limit` tokens that may follow, possibly none.

        Of the previous draft of `drafted` tokens `accepted` were right.
        """
        self._adapt(drafted, accepted)
        self._index()
        position = self._follows.get(tuple(self._tokens[-NGRAM:]))
        if (
            position is None
            or self._tokens[max(0, position - self._required_match) : position] != self._tokens[-self._required_match :]
        ):
            return []
        return self._tokens[position : position + max(0, min(self._draft_length, limit))]

    def _index(self) -> None:
        """Index the new tokens. Not done before the first draft, so that a long prompt does not delay the first token."""
        for position in range(self._indexed, len(self._tokens)):
            self._follows[tuple(self._tokens[position - NGRAM : position])] = position
        self._indexed = max(NGRAM, len(self._tokens))

    def _adapt(self, drafted: int, accepted: int) -> None:
        """Lengthen drafts after an accepted one; after a rejected one shorten them and require a longer match."""
        if drafted and accepted == drafted:
            self._draft_length, self._required_match = min(2 * self._draft_length + 1, MAX_DRAFT), NGRAM
        elif drafted and not accepted:
            self._draft_length, self._required_match = NGRAM, min(2 * self._required_match, 8 * NGRAM)
