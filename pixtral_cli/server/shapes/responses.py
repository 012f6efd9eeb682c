"""OpenAI's Responses API, `/v1/responses`, stateless: its requests as chat completion requests. The reply is in `responses_reply`."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.openai.requests import parse_body
from pixtral_cli.server.shapes.responses_reply import ResponsesReply
from pixtral_cli.server.shapes.responses_schema import (
    NO_EFFECT,
    InputImage,
    MessageItem,
    OutputText,
    ReasoningItem,
    Refusal,
    ResponsesRequest,
    TextFormat,
)
from pixtral_cli.server.shapes.shape import ShapedRequest, chat_request


def parse(body: bytearray) -> ShapedRequest:
    """A request for a response. Raises ApiError 400 that names the field."""
    request = parse_body(ResponsesRequest, body, NO_EFFECT)
    fields = {"messages": "input", "response_format": "text.format", "response_format.json_schema": "text.format"}
    messages = list(_messages(request, fields))
    chat = chat_request(
        {
            "model": request.model,
            "messages": messages,
            "stream": request.stream,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_tokens": request.max_output_tokens,
            "response_format": _response_format(request.text.format if request.text else None),
        },
        fields,
    )
    return ShapedRequest(chat, partial(ResponsesReply, request), fields)


def _messages(request: ResponsesRequest, fields: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The conversation as chat messages; `fields` receives the item of which each was made."""
    place = 0
    if request.instructions:
        fields["messages.0"] = "instructions"
        place = 1
        yield {"role": "system", "content": request.instructions}
    items = [MessageItem(role="user", content=request.input)] if isinstance(request.input, str) else request.input
    thought = ""
    for number, item in enumerate(items):
        if isinstance(item, ReasoningItem):
            thought += "".join(part.text for part in item.content or ())
            continue
        fields[f"messages.{place}"] = "input" if isinstance(request.input, str) else f"input.{number}"
        place += 1
        thinking = {"reasoning_content": thought} if thought and item.role == "assistant" else {}
        thought = ""
        yield {"role": item.role, "content": _content(item, f"input.{number}")} | thinking
    if not place:
        raise ApiError(400, "input: it holds no message.", param="input", code="invalid_value")


def _content(item: MessageItem, field: str) -> str | list[Mapping[str, Any]]:
    if isinstance(item.content, str):
        return item.content
    return [_part(part, item.role, f"{field}.content.{number}") for number, part in enumerate(item.content)]


def _part(part: Any, role: str, field: str) -> Mapping[str, Any]:
    match part:
        case InputImage() if role != "user":
            why = f"{field}: an image in a message of the role {role}; only the user's may hold images."
            raise ApiError(400, why, param=field, code="invalid_value")
        case InputImage():
            return {"type": "image_url", "image_url": part.image_url}
        case Refusal():
            return {"type": "text", "text": part.refusal}
        case OutputText() if role != "assistant":
            why = f"{field}: output_text in a message of the role {role}; it is of an answer."
            raise ApiError(400, why, param=field, code="invalid_value")
        case _:
            return {"type": "text", "text": part.text}


def _response_format(text: TextFormat | None) -> dict[str, Any] | None:
    if text is None or text.type == "text":
        return None
    if text.type == "json_object":
        return {"type": "json_object"}
    missing = next((name for name, one in (("name", text.name), ("schema", text.schema_)) if one is None), None)
    if missing:
        field = f"text.format.{missing}"
        why = f"Missing required parameter: {field}"
        raise ApiError(400, why, param=field, code="missing_required_parameter")
    return {"type": "json_schema", "json_schema": {"name": text.name, "schema": text.schema_}}
