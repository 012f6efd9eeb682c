"""Ollama's `/api/chat` and `/api/generate`: translates requests and writes replies, which are streamed by default."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pixtral_cli.chat.engine import Chunk, Timings, Usage
from pixtral_cli.chat.tools import ToolCall, ToolCallCollector
from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.http.streaming import JSON_LINES
from pixtral_cli.server.openai.requests import EngineRequest, log_no_effect, parse_body
from pixtral_cli.server.shapes.error_shapes import ollama_error
from pixtral_cli.server.shapes.ollama import schema
from pixtral_cli.server.shapes.shape import ShapedRequest, chat_request

LATEST = ":latest"


def parse_chat(body: bytearray) -> ShapedRequest:
    """Translates a request to `/api/chat`. Raises ApiError 400, naming the field."""
    request = parse_body(schema.OllamaChatRequest, body, schema.NO_EFFECT)
    fields: dict[str, str] = {}
    messages = [_message(message, f"messages.{index}", fields) for index, message in enumerate(request.messages or ())]
    _number_calls(request.messages or (), messages)
    tools = [tool.model_dump(exclude_none=True) for tool in request.tools or ()]
    return _shaped(request, messages, fields, _chat_content, tools=tools or None)


def parse_generate(body: bytearray) -> ShapedRequest:
    """Translates a request to `/api/generate`. Raises ApiError 400, naming the field."""
    request = parse_body(schema.OllamaGenerateRequest, body, schema.NO_EFFECT)
    messages: list[dict[str, Any]] = [{"role": "system", "content": request.system}] if request.system else []
    fields = {f"messages.{len(messages)}": "prompt"}
    if request.prompt or request.images:
        question = schema.OllamaMessage(role="user", content=request.prompt, images=request.images)
        messages.append(_message(question, f"messages.{len(messages)}", fields, images="images"))
    else:
        messages = []
    return _shaped(request, messages, fields, _generate_content)


def _shaped(
    request: schema.OllamaRequest,
    messages: list[dict[str, Any]],
    fields: dict[str, str],
    content: Callable[[str, str], dict[str, Any]],
    **more: Any,
) -> ShapedRequest:
    options = request.options or schema.OllamaOptions.model_validate({})
    unknown = set(options.model_extra or ())
    log_no_effect({f"options.{name}" for name in options.model_fields_set & (schema.OPTIONS_NO_EFFECT | unknown)})
    fields |= {name: f"options.{name}" for name in ("temperature", "top_p", "seed", "stop")}
    fields |= {"max_tokens": "options.num_predict", "response_format": "format"}
    limit = options.num_predict
    value = {
        "model": request.model.removesuffix(LATEST),
        "stream": request.stream is not False,
        "temperature": options.temperature,
        "top_p": options.top_p or None,  # 0 is the default, as at llama.cpp
        "seed": options.seed,
        "top_k": options.top_k,
        "min_p": options.min_p,
        "repetition_penalty": options.repeat_penalty,
        "presence_penalty": options.presence_penalty,
        "frequency_penalty": options.frequency_penalty,
        "stop": options.stop,
        "max_tokens": None if limit is None else -1 if limit < 0 else min(max(limit, 1), sys.maxsize),
        "response_format": _response_format(request.format),
        **more,
    }
    reply = partial(OllamaReply, request.model, content)
    if not messages:
        chat = chat_request({**value, "messages": [{"role": "user", "content": ""}]}, fields)
        return ShapedRequest(chat, reply, fields, fixed_reply=partial(_load_reply, request.model, content))
    return ShapedRequest(chat_request({**value, "messages": messages}, fields), reply, fields)


def _number_calls(request_messages: Sequence[schema.OllamaMessage], messages: list[dict[str, Any]]) -> None:
    """Add the calls, and ids of calls and results, which this API may leave out.

    A result without an id belongs to the first call of its tool that has no result yet. Raises ApiError 400.
    """
    open_calls: list[tuple[str, str]] = []  # ids and names
    number = 0
    for index, (message, chat) in enumerate(zip(request_messages, messages, strict=True)):
        for call in message.tool_calls or ():
            number += 1
            key = call.id or f"call_{number}"
            open_calls.append((key, call.function.name))
            function = {"name": call.function.name, "arguments": call.function.arguments}
            chat.setdefault("tool_calls", []).append({"id": key, "function": function})
        if message.role == "tool":
            tool_name = message.tool_name or message.name
            matching = [
                call
                for call in open_calls
                if message.tool_call_id == call[0] or (not message.tool_call_id and tool_name in (None, call[1]))
            ]
            if not matching:
                field = f"messages.{index}"
                raise ApiError(400, f"{field}: no call waits for this result.", param=field, code="invalid_value")
            open_calls.remove(matching[0])
            chat["tool_call_id"] = matching[0][0]


def _message(
    message: schema.OllamaMessage, path: str, fields: dict[str, str], *, images: str | None = None
) -> dict[str, Any]:
    """The chat message, its images before its text. `images`: the path of the field they are in."""
    field = images or f"{path}.images"
    text = message.content or ""
    if not message.images:
        return {"role": message.role, "content": text} | _thinking_field(message)
    if message.role not in ("user", "tool"):
        reason = (
            f"{field}: pictures in a message of the role {message.role}; only the user's and results may hold them."
        )
        raise ApiError(400, reason, param=field, code="invalid_value")
    parts: list[dict[str, Any]] = []
    for number, source in enumerate(message.images):
        fields[f"{path}.content.{number}.image_url"] = f"{field}.{number}"
        parts.append({"type": "image_url", "image_url": _image_url(source)})
    return {"role": message.role, "content": [*parts, *([{"type": "text", "text": text}] if text else [])]}


def _thinking_field(message: schema.OllamaMessage) -> dict[str, Any]:
    return {"reasoning_content": message.thinking} if message.role == "assistant" and message.thinking else {}


def _image_url(source: str) -> str:
    """The URL of an image; base64 becomes a data URL, of any media type since the loader looks at the bytes."""
    is_url = source[:16].lower().startswith(("data:", "http:", "https:"))
    return source if is_url else f"data:image/png;base64,{source}"


def _response_format(format: schema.Format | None) -> dict[str, Any] | None:
    if not format and not isinstance(format, dict):
        return None
    if format == "json":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": format}}


def _chat_content(text: str, thinking: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text} | ({"thinking": thinking} if thinking else {})}


def _generate_content(text: str, thinking: str) -> dict[str, Any]:
    return {"response": text} | ({"thinking": thinking} if thinking else {})


class OllamaReply:
    """Writes one answer. Tool calls are sent complete, before the last object.

    `content` makes the fields that hold text and thinking, which differ between `/api/chat` and `/api/generate`.
    """

    framing = JSON_LINES

    def __init__(
        self, name: str, content: Callable[[str, str], dict[str, Any]], model: str, request: EngineRequest, _: int
    ) -> None:
        self._name = name
        self._content = content
        self._calls = ToolCallCollector()

    def whole(self, chunks: Sequence[Chunk]) -> dict[str, Any]:
        """See `Reply`."""
        text, thinking = ("".join(getattr(chunk, kind) for chunk in chunks) for kind in ("text", "reasoning"))
        for chunk in chunks:
            self._calls.add(chunk.tool_calls)
        reply = self._object(text, thinking, done=True) | _end_fields(chunks[-1])
        if self._calls.calls:
            reply["message"] |= {"tool_calls": _calls(self._calls.calls)}
        return reply

    def begin(self) -> list[dict[str, Any]]:
        """See `Reply`; nothing precedes the first text."""
        return []

    def piece(self, chunk: Chunk) -> Iterator[dict[str, Any]]:
        """See `Reply`."""
        if chunk.text or chunk.reasoning:
            yield self._object(chunk.text, chunk.reasoning, done=False)
        self._calls.add(chunk.tool_calls)
        if chunk.finish_reason and self._calls.calls:
            object_with_calls = self._object("", "", done=False)
            object_with_calls["message"] |= {"tool_calls": _calls(self._calls.calls)}
            yield object_with_calls
        if chunk.finish_reason:
            yield self._object("", "", done=True) | _end_fields(chunk)

    def error(self, error: ApiError) -> list[dict[str, Any]]:
        """See `Reply`: Ollama's error object."""
        return [ollama_error(error)]

    def _object(self, text: str, thinking: str, *, done: bool) -> dict[str, Any]:
        return {"model": self._name, "created_at": timestamp(), **self._content(text, thinking), "done": done}


def _calls(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    return [{"id": call.id, "function": {"name": call.name, "arguments": _arguments(call)}} for call in calls]


def _arguments(call: ToolCall) -> Any:
    """The value of a call's arguments; {} when the answer was cut off within them."""
    try:
        return json.loads(call.arguments or "{}")
    except ValueError:
        return {}


def _load_reply(name: str, content: Callable[[str, str], dict[str, Any]]) -> dict[str, Any]:
    """The reply to a request without a question, which only asks to load the model."""
    return {"model": name, "created_at": timestamp(), **content("", ""), "done": True, "done_reason": "load"}


def timestamp(seconds: float | None = None) -> str:
    """A time in seconds since 1970, by default now, in Ollama's form: ISO 8601 with microseconds, UTC."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _end_fields(chunk: Chunk) -> dict[str, Any]:
    usage, timings = chunk.usage or Usage(), chunk.timings or Timings()
    return {
        "done_reason": "length" if chunk.finish_reason == "length" else "stop",
        "total_duration": _nanoseconds(timings.total),
        "load_duration": _nanoseconds(timings.load),
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": _nanoseconds(timings.ttft),
        "eval_count": usage.completion_tokens,
        "eval_duration": _nanoseconds(timings.decode),
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
