"""The sampling parameters of a request."""

from dataclasses import replace
from typing import Any

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.openai.request_schema import ChatRequest

COPIED_FIELDS = (
    "temperature", "top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty", "n",
)  # fmt: skip


def request_sampling(request: ChatRequest, defaults: Sampling) -> Sampling:
    """The request's sampling; `defaults` for what it leaves out. Raises ApiError 400 for fields that contradict each other."""
    limit = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    fields: dict[str, Any] = {
        **{name: getattr(request, name) for name in COPIED_FIELDS},
        "top_k": None if request.top_k is None else max(0, request.top_k),
        "max_tokens": limit,
        "seed": request.random_seed if request.seed is None else request.seed,
        "logit_bias": request.logit_bias and {int(token): bias for token, bias in request.logit_bias.items()},
        "logprobs": _logprobs(request),
    }
    sampling = {name: value for name, value in fields.items() if value is not None}
    if limit == -1:
        sampling["max_tokens"] = None
    return replace(defaults, stop=stop or defaults.stop, **sampling)


def _logprobs(request: ChatRequest) -> int | None:
    if request.logprobs:
        return request.top_logprobs or 0
    if request.top_logprobs:
        raise ApiError(400, "top_logprobs needs logprobs to be true.", param="top_logprobs", code="invalid_value")
    return None
