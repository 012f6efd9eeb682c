"""Log-probabilities of an answer's tokens as the model computed them: before penalties, temperature and constraints."""

from collections.abc import Callable

from torch import Tensor

from pixtral_cli.chat.engine import TokenLogprob


class LogprobRecorder:
    """Records the log-probability of each chosen token and of the `top` likeliest tokens in its place.

    They are released when the text of their token is final; tokens of calls and of text that a stop string cut have
    none.
    """

    def __init__(self, top: int, bytes_of: Callable[[int], bytes]) -> None:
        self._top, self._bytes_of = top, bytes_of
        self.last: TokenLogprob | None = None
        self._pending: list[tuple[int, TokenLogprob]] = []  # by the offset of the token's first byte in the answer
        self._recorded_bytes = self._final_bytes = 0  # bytes of the recorded tokens, and of the final text

    def release(self, text: str, *, is_text: bool, ended: bool = False) -> tuple[TokenLogprob, ...]:
        """The log-probabilities whose text is final with this piece of text.

        `is_text`: the last token belongs to the text; `ended`: the text is complete, so that all pending ones are
        released.
        """
        if is_text and self.last:
            self._pending.append((self._recorded_bytes, self.last))
            self._recorded_bytes += len(self.last.data)
            self.last = None
        self._final_bytes += len(text.encode())
        final = [logprob for start, logprob in self._pending if ended or start < self._final_bytes]
        self._pending = self._pending[len(final) :]
        return tuple(final)

    def record(self, logits: Tensor, token: int) -> None:
        """Record the token chosen from these unadjusted logits (vocabulary,)."""
        logprobs = logits.float().log_softmax(-1)
        values, tokens = logprobs.topk(min(self._top, len(logprobs)))
        top = tuple(
            TokenLogprob(self._bytes_of(other), value)
            for other, value in zip(tokens.tolist(), values.tolist(), strict=True)
        )
        self.last = TokenLogprob(self._bytes_of(token), float(logprobs[token]), top)
