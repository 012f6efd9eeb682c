"""OpenAI's older API `/v1/completions`: each prompt is asked as a question, and the replies hold text only."""

import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from pixtral_cli.chat import engine
from pixtral_cli.chat.engine import Chunk
from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.http.streaming import DATA_EVENTS
from pixtral_cli.server.openai.reply_schema import Usage
from pixtral_cli.server.openai.requests import EngineRequest, parse_body
from pixtral_cli.server.shapes.completions_schema import CompletionChoice, CompletionRequest, TextCompletion
from pixtral_cli.server.shapes.shape import ShapedRequest, chat_request

DEFAULT_MAX_TOKENS = 16  # OpenAI's
COPIED_FIELDS = ("model", "stream", "stream_options", "temperature", "top_p", "seed", "stop", "frequency_penalty",
        "presence_penalty", "repetition_penalty", "logit_bias", "top_k", "min_p")  # fmt: skip


def parse(body: bytearray) -> ShapedRequest:
    """Translates a request for completions. Raises ApiError 400, naming the field."""
    request = parse_body(CompletionRequest, body, {"user"})
    value = {name: getattr(request, name) for name in COPIED_FIELDS}
    value["stream_options"] = request.stream_options and request.stream_options.model_dump()
    value["max_tokens"] = DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    fields = {"messages.0": "prompt"}
    prompts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
    first, *more = (
        chat_request({**value, "messages": [{"role": "user", "content": prompt}]}, fields) for prompt in prompts
    )
    return ShapedRequest(first, partial(CompletionsReply, len(prompts)), fields, more=tuple(more))


class CompletionsReply:
    """Writes the completions of one request, one a prompt, which share id, time and model."""

    framing = DATA_EVENTS

    def __init__(self, count: int, model: str, request: EngineRequest, _: int) -> None:
        self._last = count - 1
        self._common: dict[str, Any] = {"id": f"cmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self._usage_apart = request.usage == "apart"
        self._usage = engine.Usage()  # the sum over the completions so far

    def whole(self, chunks: Sequence[Chunk]) -> dict[str, Any]:
        """See `Reply`."""
        by_index: dict[int, list[Chunk]] = {}
        for chunk in chunks:
            by_index.setdefault(chunk.index, []).append(chunk)
            self._add(chunk.usage)
        choices = [
            CompletionChoice(
                index=index, text="".join(chunk.text for chunk in answer), finish_reason=_finish_reason(answer[-1])
            )
            for index, answer in by_index.items()
        ]
        return TextCompletion(**self._common, choices=choices, usage=Usage.of(self._usage)).model_dump()

    def begin(self) -> list[dict[str, Any]]:
        """See `Reply`; nothing precedes the first text."""
        return []

    def piece(self, chunk: Chunk) -> list[dict[str, Any]]:
        """See `Reply`."""
        self._add(chunk.usage)
        if not chunk.text and not chunk.finish_reason:
            return []
        reason = _finish_reason(chunk) if chunk.finish_reason else None
        choice = CompletionChoice(index=chunk.index, text=chunk.text, finish_reason=reason)
        objects = [self._object([choice.model_dump()])]
        if self._usage_apart and chunk.finish_reason and chunk.index == self._last:
            objects.append(self._object([]) | {"usage": Usage.of(self._usage).model_dump()})
        return objects

    def error(self, error: ApiError) -> list[dict[str, Any]]:
        """See `Reply`: OpenAI's error object."""
        return [error.body]

    def _object(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._common, "object": "text_completion", "choices": choices}

    def _add(self, usage: engine.Usage | None) -> None:
        if usage:
            so_far = self._usage
            self._usage = engine.Usage(
                so_far.prompt_tokens + usage.prompt_tokens,
                so_far.completion_tokens + usage.completion_tokens,
                so_far.image_tokens + usage.image_tokens,
                so_far.cached_tokens + usage.cached_tokens,
                so_far.reasoning_tokens + usage.reasoning_tokens,
            )


def _finish_reason(chunk: Chunk) -> Any:
    return "length" if chunk.finish_reason == "length" else "stop"
