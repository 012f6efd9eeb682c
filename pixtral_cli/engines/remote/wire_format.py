"""The JSON of chat completion requests and replies. Sending is in `client`."""

import io
import json
import math
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from pixtral_cli.chat.engine import Chunk, FinishReason, Sampling, Timings, TokenLogprob, Usage
from pixtral_cli.chat.message import Message
from pixtral_cli.chat.tools import NamedTool, Tool, ToolCall, ToolCallDelta
from pixtral_cli.errors import UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.images.transform import MAX_SIDE, size_in_patches
from pixtral_cli.limits import MAX_TOP_LOGPROBS
from pixtral_cli.structured.schema import with_schema_prompt

FINISH_REASONS: dict[str, FinishReason] = {"length": "length", "model_length": "length", "tool_calls": "tool_calls"}
NEUTRAL_SAMPLING = Sampling()  # parameters with these values are not sent
OPTIONAL_PARAMETERS = (
    "top_p", "max_tokens", "seed", "stop", "top_k", "min_p", "repetition_penalty", "frequency_penalty",
    "presence_penalty", "logit_bias", "logprobs", "n",
)  # fmt: skip
MISTRAL_FIELDS = frozenset({"top_p", "max_tokens", "seed", "stop", "frequency_penalty", "presence_penalty", "n"})
MAX_INDEX = 1024  # exclusive, of an answer or a tool call


def build_request(
    model: str, messages: Sequence[Message], sampling: Sampling, url: Callable[[Image], str], *, mistral: bool = False
) -> dict[str, Any]:
    """The body of a streaming request. `url` returns the URL of an image; `mistral`: use La Plateforme's field names.

    A schema is also described in the question, since vLLM constrains the answer without telling the model; La
    Plateforme does so itself.
    """
    if not mistral:
        messages = with_schema_prompt(messages, sampling.schema)
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            _message(message, url, mistral=mistral) for message in messages if _is_sendable(message, mistral=mistral)
        ],
        "stream": True,
        "temperature": sampling.temperature,
    }
    if not mistral:
        body["stream_options"] = {"include_usage": True}
    body |= sampling_fields(sampling, mistral=mistral)
    if sampling.tools:
        body |= _tool_fields(sampling, mistral=mistral)
    if sampling.schema is not None:
        schema = {"name": "answer", "schema": sampling.schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def sampling_fields(sampling: Sampling, *, mistral: bool = False) -> dict[str, Any]:
    """The fields of the sampling parameters that are not neutral. Raises UsageError for one that La Plateforme lacks."""
    fields: dict[str, Any] = {
        name: getattr(sampling, name)
        for name in OPTIONAL_PARAMETERS
        if getattr(sampling, name) != getattr(NEUTRAL_SAMPLING, name)
    }
    if mistral and (unknown := sorted(fields.keys() - MISTRAL_FIELDS)):
        raise UsageError(f"La Plateforme has no {unknown[0]}", "Leave it out", unknown[0])
    if "seed" in fields and mistral:
        fields["random_seed"] = fields.pop("seed")
    if "stop" in fields:
        fields["stop"] = list(sampling.stop)
    if "logit_bias" in fields:
        fields["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if (count := fields.pop("logprobs", None)) is not None:
        fields |= {"logprobs": True, "top_logprobs": count}
    return fields


def _tool_fields(sampling: Sampling, *, mistral: bool) -> dict[str, Any]:
    """The fields of tools, the choice among them and parallel calls."""
    choice: Any = sampling.tool_choice
    if isinstance(choice, NamedTool):
        choice = {"type": "function", "function": {"name": choice.name}}
    elif choice == "required" and mistral:
        choice = "any"
    fields: dict[str, Any] = {"tools": [_tool(tool) for tool in sampling.tools], "tool_choice": choice}
    return fields if sampling.parallel_tool_calls else fields | {"parallel_tool_calls": False}


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _is_sendable(message: Message, *, mistral: bool) -> bool:
    """Whether servers accept the message. They refuse an answer without text and calls.

    An empty system prompt is sent, except to La Plateforme: it turns off the server's own one.
    """
    may_be_empty = message.role in ("user", "tool") or (message.role == "system" and not mistral)
    return may_be_empty or bool(message.text or message.tool_calls)


def _message(message: Message, url: Callable[[Image], str], *, mistral: bool) -> dict[str, Any]:
    if message.role == "tool":
        name = {"name": message.name} if message.name else {}
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.text, **name}
    fields: dict[str, Any] = {"prefix": True} if message.prefix else {}
    if message.tool_calls:
        fields["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    return _content_message(message, url, mistral=mistral) | fields


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _content_message(message: Message, url: Callable[[Image], str], *, mistral: bool) -> dict[str, Any]:
    """Role and content of a message."""
    if message.reasoning:
        return _thinking_message(message, mistral=mistral)
    if not message.images:
        return {"role": message.role, "content": message.text}
    parts = [
        {"type": "text", "text": part}
        if isinstance(part, str)
        else {"type": "image_url", "image_url": {"url": url(part)}}
        for part in message.parts
        if part
    ]
    return {"role": message.role, "content": parts}


def _thinking_message(message: Message, *, mistral: bool) -> dict[str, Any]:
    """An answer with its reasoning: a part of the content for La Plateforme, a separate field for other servers."""
    if not mistral:
        return {"role": message.role, "reasoning_content": message.reasoning, "content": message.text}
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": message.reasoning}], "closed": True}
    said = [{"type": "text", "text": message.text}] if message.text else []
    return {"role": message.role, "content": [thinking, *said]}


def encode_resized(image: Image) -> str:
    """A data URL of an image as the model sees it: upright RGB in the model's resolution; JPEG for a JPEG, else PNG."""
    from PIL import Image as Pillow

    size = size_in_patches(image.size)
    pixels = image.pixels(size)
    if max(image.size) > MAX_SIDE:
        pixels = pixels.resize(size, Pillow.Resampling.BICUBIC)
    file = io.BytesIO()
    if image.format == "JPEG":
        pixels.save(file, "JPEG", quality=95, subsampling=0)
        return _data_url("image/jpeg", file.getvalue())
    pixels.save(file, "PNG")
    return _data_url("image/png", file.getvalue())


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{b64encode(data).decode('ascii')}"


class MalformedEvent(ValueError):
    """A reply that is not a chat completion object."""


def parse_event(event: Any) -> Chunk:
    """The chunk of an event, or of a complete reply; any field may be missing. Raises MalformedEvent."""
    if not isinstance(event, dict):
        raise MalformedEvent
    choices = event.get("choices") or []
    choice = choices[0] if isinstance(choices, list) and choices else {}
    if not isinstance(choice, dict):
        raise MalformedEvent
    content = choice.get("delta") or choice.get("message") or {}
    content = content if isinstance(content, dict) else {}
    reason = choice.get("finish_reason")
    text, reasoning = _parse_content(content.get("content"))
    calls = _parse_calls(content.get("tool_calls") if isinstance(content, dict) else None)
    return Chunk(
        text,
        FINISH_REASONS.get(str(reason), "stop") if reason else None,
        _parse_usage(event.get("usage")),
        _parse_timings(event.get("timings")),
        reasoning or _parse_reasoning(content),
        calls,
        _parse_logprobs(choice.get("logprobs")) if text or not calls else (),  # vLLM's are of a call's tokens, too
        _parse_index(choice),
        _parse_stop(choice),
    )


def _parse_content(content: Any) -> tuple[str, str]:
    """The text and the reasoning of a message's content: a string, or La Plateforme's list of parts."""
    if content is None:
        return "", ""
    if isinstance(content, str):
        return content, ""
    if not isinstance(content, list):
        raise MalformedEvent
    parts = [part for part in content if isinstance(part, dict)]
    return _texts(parts), "".join(_texts(part.get("thinking")) for part in parts if part.get("type") == "thinking")


def _texts(parts: Any) -> str:
    """The concatenated texts of a list of parts, or a string itself."""
    if isinstance(parts, str):
        return parts
    texts = [part.get("text") for part in parts or () if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


def _parse_reasoning(content: dict[str, Any]) -> str:
    """The reasoning in a separate field, by either of the names that servers use."""
    reasoning = content.get("reasoning_content") or content.get("reasoning")
    return reasoning if isinstance(reasoning, str) else ""


def _parse_index(entry: dict[str, Any]) -> int:
    index = entry.get("index")
    return index if type(index) is int and 0 <= index < MAX_INDEX else 0


def _parse_stop(choice: dict[str, Any]) -> str:
    """The stop string that ended the answer, as pixtral and vLLM report it; "" without one or for a token id."""
    stop = choice.get("stop_reason")
    return stop if isinstance(stop, str) else ""


def _parse_calls(calls: Any) -> tuple[ToolCallDelta, ...]:
    """The pieces of tool calls, or whole calls, of a message. Raises MalformedEvent."""
    if calls is None:
        return ()
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise MalformedEvent
    return tuple(_parse_call(call, position) for position, call in enumerate(calls[:MAX_INDEX]))


def _parse_call(call: dict[str, Any], position: int) -> ToolCallDelta:
    """A piece of a call, or a whole call. `position`: its index where it names none. Raises MalformedEvent."""
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    call_id, name, arguments = call.get("id") or "", function.get("name") or "", function.get("arguments") or ""
    if isinstance(arguments, dict):  # as La Plateforme sends them
        arguments = json.dumps(arguments, ensure_ascii=False)
    if not all(isinstance(text, str) for text in (call_id, name, arguments)):
        raise MalformedEvent
    index = call.get("index")
    return ToolCallDelta(index if type(index) is int and 0 <= index < MAX_INDEX else position, call_id, name, arguments)


def _parse_logprobs(logprobs: Any) -> tuple[TokenLogprob, ...]:
    """The valid entries of a list of log-probabilities."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    parsed = [_parse_logprob(entry) for entry in content] if isinstance(content, list) else []
    return tuple(logprob for logprob in parsed if logprob is not None)


def _parse_logprob(entry: Any) -> TokenLogprob | None:
    """The log-probability of a token and of its alternatives; None for an entry that is not valid."""
    value = entry.get("logprob") if isinstance(entry, dict) else None
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    data, token, top = entry.get("bytes"), entry.get("token"), entry.get("top_logprobs")
    try:
        token_bytes = bytes(data) if isinstance(data, list) else str(token).encode()
    except (TypeError, ValueError):
        token_bytes = str(token).encode(errors="replace")
    others = _parse_logprobs({"content": top[:MAX_TOP_LOGPROBS]}) if isinstance(top, list) else ()
    return TokenLogprob(token_bytes, float(value), others)


def _parse_usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    answer = usage.get("completion_tokens_details")
    return Usage(
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
        _count(details, "image_tokens"),
        _count(details, "cached_tokens"),
        _count(answer if isinstance(answer, dict) else {}, "reasoning_tokens"),
    )


def _count(table: dict[str, Any], name: str) -> int:
    value = table.get(name)
    return value if isinstance(value, int) and value >= 0 else 0


def _parse_timings(timings: Any) -> Timings | None:
    if not isinstance(timings, dict):
        return None
    named = {field.name: timings.get(field.name) for field in fields(Timings)}
    numbers = {name: value for name, value in named.items() if isinstance(value, int | float) and math.isfinite(value)}
    numbers["peak_memory"] = int(numbers.get("peak_memory", 0))
    return Timings(**numbers)  # type: ignore[arg-type]
