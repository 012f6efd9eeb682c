"""Anthropic's Messages API, `/v1/messages`: its requests as chat completion requests. The reply is in `reply`."""

from collections.abc import Iterator
from typing import Any

from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.openai.request_schema import ChatRequest
from pixtral_cli.server.openai.requests import parse_body
from pixtral_cli.server.shapes.anthropic.reply import AnthropicReply
from pixtral_cli.server.shapes.anthropic.schema import (
    NO_EFFECT,
    CountTokensRequest,
    ImageBlock,
    MessageParam,
    MessagesRequest,
    TextBlock,
    ThinkingBlock,
)
from pixtral_cli.server.shapes.shape import ShapedRequest, chat_request


def parse(body: bytearray) -> ShapedRequest:
    """A request for a message. Raises ApiError 400 that names the field."""
    request = parse_body(MessagesRequest, body, NO_EFFECT)
    fields = {"stop": "stop_sequences"}
    chat = _chat(
        request,
        fields,
        stream=request.stream,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        max_tokens=request.max_tokens,
        stop=request.stop_sequences,
    )
    return ShapedRequest(chat, AnthropicReply, fields, measured=bool(request.stream))


def parse_count(body: bytearray) -> ShapedRequest:
    """A request to `/v1/messages/count_tokens`. Raises ApiError 400 that names the field."""
    request = parse_body(CountTokensRequest, body, NO_EFFECT)
    fields: dict[str, str] = {}
    return ShapedRequest(_chat(request, fields), AnthropicReply, fields)


def _chat(request: CountTokensRequest, fields: dict[str, str], **sampling: Any) -> ChatRequest:
    messages = list(_messages(request, fields))
    fields |= {"response_format": "output_config.format", "response_format.json_schema": "output_config.format"}
    format = request.output_config.format if request.output_config else None
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": format.schema_}} if format else None
    return chat_request({"model": request.model, "messages": messages, "response_format": schema, **sampling}, fields)


def _messages(request: CountTokensRequest, fields: dict[str, str]) -> Iterator[dict[str, Any]]:
    place = 0
    if request.system:
        fields["messages.0"] = "system"
        place = 1
        yield {"role": "system", "content": _system(request.system)}
    for number, message in enumerate(request.messages):
        fields[f"messages.{place}"] = f"messages.{number}"
        yield {"role": message.role, "content": _content(message, number, place, fields)} | _thought(message)
        place += 1


def _system(prompt: str | list[TextBlock]) -> str:
    return prompt if isinstance(prompt, str) else "\n\n".join(block.text for block in prompt)


def _thought(message: MessageParam) -> dict[str, Any]:
    if message.role != "assistant" or isinstance(message.content, str):
        return {}
    thinking = "".join(block.thinking for block in message.content if isinstance(block, ThinkingBlock))
    return {"reasoning_content": thinking} if thinking else {}


def _content(message: MessageParam, number: int, place: int, fields: dict[str, str]) -> str | list[dict[str, Any]]:
    if isinstance(message.content, str):
        return message.content
    parts: list[dict[str, Any]] = []
    for index, block in enumerate(message.content):
        field = f"messages.{number}.content.{index}"
        if isinstance(block, TextBlock):
            parts.append({"type": "text", "text": block.text})
        elif isinstance(block, ImageBlock):
            if message.role != "user":
                why = f"{field}: an image in a message of the role {message.role}; only the user's may hold images."
                raise ApiError(400, why, param=field, code="invalid_value")
            fields[f"messages.{place}.content.{len(parts)}.image_url"] = f"{field}.source"
            parts.append({"type": "image_url", "image_url": block.url})
    return parts or ""
