"""Ollama's `/api/chat` and `/api/generate`: their requests as chat completion requests, and their replies, streamed by default."""

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
    """A request to `/api/chat`. Raises ApiError 400 that names the field."""
    request = parse_body(schema.OllamaChatRequest, body, schema.NO_EFFECT)
    fields: dict[str, str] = {}
    messages = [_message(message, f"messages.{place}", fields) for place, message in enumerate(request.messages or ())]
    _number_calls(request.messages or (), messages)
    tools = [tool.model_dump(exclude_none=True) for tool in request.tools or ()]
    return _shaped(request, messages, fields, _chat_content, tools=tools or None)


def parse_generate(body: bytearray) -> ShapedRequest:
    """A request to `/api/generate`. Raises ApiError 400 that names the field."""
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
        return ShapedRequest(chat, reply, fields, unasked=partial(_loaded, request.model, content))
    return ShapedRequest(chat_request({**value, "messages": messages}, fields), reply, fields)


def _number_calls(said: Sequence[schema.OllamaMessage], messages: list[dict[str, Any]]) -> None:
    """Give calls and results their ids, which this API may leave out: a result is of its tool's first call without one."""
    waiting: list[tuple[str, str]] = []  # ids and names
    number = 0
    for place, (message, chat) in enumerate(zip(said, messages, strict=True)):
        for call in message.tool_calls or ():
            number += 1
            key = call.id or f"call_{number}"
            waiting.append((key, call.function.name))
            function = {"name": call.function.name, "arguments": call.function.arguments}
            chat.setdefault("tool_calls", []).append({"id": key, "function": function})
        if message.role == "tool":
            wanted = message.tool_name or message.name
            found = [
                one
                for one in waiting
                if message.tool_call_id == one[0] or (not message.tool_call_id and wanted in (None, one[1]))
            ]
            if not found:
                field = f"messages.{place}"
                raise ApiError(400, f"{field}: no call waits for this result.", param=field, code="invalid_value")
            waiting.remove(found[0])
            chat["tool_call_id"] = found[0][0]


def _message(
    message: schema.OllamaMessage, place: str, fields: dict[str, str], *, images: str | None = None
) -> dict[str, Any]:
    """The chat message; its pictures precede its text."""
    field = images or f"{place}.images"
    text = message.content or ""
    if not message.images:
        return {"role": message.role, "content": text} | _thought(message)
    if message.role not in ("user", "tool"):
        why = f"{field}: pictures in a message of the role {message.role}; only the user's and results may hold them."
        raise ApiError(400, why, param=field, code="invalid_value")
    parts: list[dict[str, Any]] = []
    for number, source in enumerate(message.images):
        fields[f"{place}.content.{number}.image_url"] = f"{field}.{number}"
        parts.append({"type": "image_url", "image_url": _url(source)})
    return {"role": message.role, "content": [*parts, *([{"type": "text", "text": text}] if text else [])]}


def _thought(message: schema.OllamaMessage) -> dict[str, Any]:
    return {"reasoning_content": message.thinking} if message.role == "assistant" and message.thinking else {}


def _url(source: str) -> str:
    """Base64 as a data URL; the loader looks at the bytes, not at the media type."""
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
    """One answer. Calls of tools are sent whole, before the end. `content` makes the fields that hold text, of which the two paths have different ones."""

    framing = JSON_LINES

    def __init__(
        self, name: str, content: Callable[[str, str], dict[str, Any]], model: str, request: EngineRequest, _: int
    ) -> None:
        self._name = name
        self._content = content
        self._calls = ToolCallCollector()

    def whole(self, chunks: Sequence[Chunk]) -> dict[str, Any]:
        """The answer as one object."""
        text, thinking = ("".join(getattr(chunk, kind) for chunk in chunks) for kind in ("text", "reasoning"))
        for chunk in chunks:
            self._calls.add(chunk.tool_calls)
        whole = self._object(text, thinking, done=True) | _end(chunks[-1])
        if self._calls.calls:
            whole["message"] |= {"tool_calls": _calls(self._calls.calls)}
        return whole

    def begin(self) -> list[dict[str, Any]]:
        """Nothing precedes the first piece."""
        return []

    def piece(self, chunk: Chunk) -> Iterator[dict[str, Any]]:
        """A line for what the chunk holds, and one for the end."""
        if chunk.text or chunk.reasoning:
            yield self._object(chunk.text, chunk.reasoning, done=False)
        self._calls.add(chunk.tool_calls)
        if chunk.finish_reason and self._calls.calls:
            called = self._object("", "", done=False)
            called["message"] |= {"tool_calls": _calls(self._calls.calls)}
            yield called
        if chunk.finish_reason:
            yield self._object("", "", done=True) | _end(chunk)

    def error(self, error: ApiError) -> list[dict[str, Any]]:
        """The line of an answer that breaks off."""
        return [ollama_error(error)]

    def _object(self, text: str, thinking: str, *, done: bool) -> dict[str, Any]:
        return {"model": self._name, "created_at": timestamp(), **self._content(text, thinking), "done": done}


def _calls(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    return [{"id": call.id, "function": {"name": call.name, "arguments": _arguments(call)}} for call in calls]


def _arguments(call: ToolCall) -> Any:
    """The arguments' value; an empty one where the answer was cut off within them."""
    try:
        return json.loads(call.arguments or "{}")
    except ValueError:
        return {}


def _loaded(name: str, content: Callable[[str, str], dict[str, Any]]) -> dict[str, Any]:
    """The reply to a request without a question: the model is loaded."""
    return {"model": name, "created_at": timestamp(), **content("", ""), "done": True, "done_reason": "load"}


def timestamp(seconds: float | None = None) -> str:
    """A time, by default now, as Ollama writes it."""
    when = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _end(chunk: Chunk) -> dict[str, Any]:
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
