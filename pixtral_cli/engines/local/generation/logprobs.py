"""Log-probabilities of the tokens of an answer, as the model gave them: before penalties, temperature and constraints."""

from collections.abc import Callable

from torch import Tensor

from pixtral_cli.chat.engine import TokenLogprob


class LogprobRecorder:
    """Remembers the log-probability of the token chosen last, and of the `top` likeliest in its place.

    Those of the text wait until their text is final: what a stop string cuts off, or a call, has none.
    """

    def __init__(self, top: int, bytes_of: Callable[[int], bytes]) -> None:
        self._top, self._bytes_of = top, bytes_of
        self.last: TokenLogprob | None = None
        self._waiting: list[tuple[int, TokenLogprob]] = []  # with the offset of the token's first byte in the answer
        self._fed = self._shown = 0  # bytes of the tokens of the text, and of the text that is final

    def release(self, text: str, *, is_text: bool, ended: bool = False) -> tuple[TokenLogprob, ...]:
        """Those whose text is final with this piece. `is_text`: the last token is of the text; `ended`: no stop string
        has cut the text, and nothing follows: all that wait."""
        if is_text and self.last:
            self._waiting.append((self._fed, self.last))
            self._fed += len(self.last.data)
            self.last = None
        self._shown += len(text.encode())
        final = [one for start, one in self._waiting if ended or start < self._shown]
        self._waiting = self._waiting[len(final) :]
        return tuple(final)

    def record(self, logits: Tensor, token: int) -> None:
        """The logits (vocabulary,) that the token was chosen from, unchanged."""
        logprobs = logits.float().log_softmax(-1)
        values, tokens = logprobs.topk(min(self._top, len(logprobs)))
        top = tuple(
            TokenLogprob(self._bytes_of(one), value)
            for one, value in zip(tokens.tolist(), values.tolist(), strict=True)
        )
        self.last = TokenLogprob(self._bytes_of(token), float(logprobs[token]), top)
