"""Log-probabilities of the tokens of an answer, as the model gave them: before penalties, temperature and constraints."""

from collections.abc import Callable

from torch import Tensor

from pixtral_cli.chat.engine import TokenLogprob


class LogprobRecorder:
    """Remembers the log-probability of the token chosen last, and of the `top` likeliest in its place."""

    def __init__(self, top: int, bytes_of: Callable[[int], bytes]) -> None:
        self._top, self._bytes_of = top, bytes_of
        self.last: TokenLogprob | None = None

    def record(self, logits: Tensor, token: int) -> None:
        """The logits (vocabulary,) that the token was chosen from, unchanged."""
        logprobs = logits.float().log_softmax(-1)
        values, tokens = logprobs.topk(min(self._top, len(logprobs)))
        top = tuple(
            TokenLogprob(self._bytes_of(one), value)
            for one, value in zip(tokens.tolist(), values.tolist(), strict=True)
        )
        self.last = TokenLogprob(self._bytes_of(token), float(logprobs[token]), top)
