"""The JSON of chat completion requests and replies. Sending is in `client`."""

import io
import math
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from pixtral_cli.chat.engine import Chunk, FinishReason, Sampling, Timings, Usage
from pixtral_cli.chat.message import Message
from pixtral_cli.images.image import Image
from pixtral_cli.images.transform import LONGEST, size_in_patches
from pixtral_cli.structured.schema import with_schema_prompt

FINISH_REASONS: dict[str, FinishReason] = {"length": "length", "model_length": "length"}


def build_request(
    model: str, messages: Sequence[Message], sampling: Sampling, url: Callable[[Image], str], *, mistral: bool = False
) -> dict[str, Any]:
    """The body of a streaming request. `mistral`: with La Plateforme's field names, which refuses others.

    With a schema, the question says so too: vLLM holds the answer to it and tells the model nothing. La Plateforme tells.
    """
    if not mistral:
        messages = with_schema_prompt(messages, sampling.schema)
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            _message(message, url, mistral=mistral) for message in messages if message.text or message.role == "user"
        ],
        "stream": True,
        "temperature": sampling.temperature,
    }
    if not mistral:
        body["stream_options"] = {"include_usage": True}
    if sampling.top_p != 1:
        body["top_p"] = sampling.top_p
    if sampling.max_tokens is not None:
        body["max_tokens"] = sampling.max_tokens
    if sampling.seed is not None:
        body["random_seed" if mistral else "seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.schema is not None:
        schema = {"name": "answer", "schema": sampling.schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def _message(message: Message, url: Callable[[Image], str], *, mistral: bool) -> dict[str, Any]:
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
    """An answer with what was thought before it: a part of the content at La Plateforme, a field of its own elsewhere."""
    if not mistral:
        return {"role": message.role, "reasoning_content": message.reasoning, "content": message.text}
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": message.reasoning}], "closed": True}
    return {"role": message.role, "content": [thinking, {"type": "text", "text": message.text}]}


def encode_resized(image: Image) -> str:
    """A data URL of what the model sees of an image: upright RGB, no larger than it looks at. PNG, but JPEG for a photo."""
    from PIL import Image as Pillow

    size = size_in_patches(image.size)
    pixels = image.pixels(size)
    if max(image.size) > LONGEST:
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
    """A chunk of an answer, or a whole one. Any part may be absent. Raises MalformedEvent."""
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
    return Chunk(
        text,
        FINISH_REASONS.get(str(reason), "stop") if reason else None,
        _parse_usage(event.get("usage")),
        _parse_timings(event.get("timings")),
        reasoning or _parse_reasoning(content),
    )


def _parse_content(content: Any) -> tuple[str, str]:
    """Text and thinking: of a string, which is text, or of La Plateforme's list of parts."""
    if content is None:
        return "", ""
    if isinstance(content, str):
        return content, ""
    if not isinstance(content, list):
        raise MalformedEvent
    parts = [part for part in content if isinstance(part, dict)]
    return _texts(parts), "".join(_texts(part.get("thinking")) for part in parts if part.get("type") == "thinking")


def _texts(parts: Any) -> str:
    """The texts of a list of parts together."""
    if isinstance(parts, str):
        return parts
    texts = [part.get("text") for part in parts or () if isinstance(part, dict) and part.get("type") == "text"]
    return "".join(text for text in texts if isinstance(text, str))


def _parse_reasoning(content: dict[str, Any]) -> str:
    """Thinking in a field of its own, by either of the names that servers give it."""
    found = content.get("reasoning_content") or content.get("reasoning")
    return found if isinstance(found, str) else ""


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
    known = {one.name: timings.get(one.name) for one in fields(Timings)}
    numbers = {name: value for name, value in known.items() if isinstance(value, int | float) and math.isfinite(value)}
    numbers["peak_memory"] = int(numbers.get("peak_memory", 0))
    return Timings(**numbers)  # type: ignore[arg-type]
