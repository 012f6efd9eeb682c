"""Log-probabilities of an answer's tokens as the chat completions API shows them."""

from collections.abc import Sequence
from typing import Any

from pixtral_cli.chat.engine import TokenLogprob

LEAST_LOGPROB = -9999.0  # OpenAI's value for a token that is all but impossible


def to_json(logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    """The object `logprobs` of a choice, None without any."""
    content = [{**_token(one), "top_logprobs": [_token(other) for other in one.top]} for one in logprobs]
    return {"content": content, "refusal": None} if content else None


def _token(one: TokenLogprob) -> dict[str, Any]:
    text = one.data.decode(errors="replace")
    return {"token": text, "logprob": max(one.logprob, LEAST_LOGPROB), "bytes": list(one.data)}
