"""OpenAI's Responses API, `/v1/responses`, without stored state: translates requests. Replies are in `responses_reply`."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.openai.requests import parse_body
from pixtral_cli.server.shapes.responses_reply import ResponsesReply
from pixtral_cli.server.shapes.responses_schema import (
    NO_EFFECT,
    AllowedFunctions,
    FunctionCallItem,
    FunctionOutputItem,
    FunctionTool,
    InputImage,
    InputText,
    MessageItem,
    NamedFunction,
    OutputText,
    ReasoningItem,
    Refusal,
    ResponsesRequest,
    TextFormat,
)
from pixtral_cli.server.shapes.shape import ShapedRequest, chat_request


def parse(body: bytearray) -> ShapedRequest:
    """Translates a request for a response. Raises ApiError 400, naming the field."""
    request = parse_body(ResponsesRequest, body, NO_EFFECT)
    fields = {"messages": "input", "response_format": "text.format", "response_format.json_schema": "text.format"}
    fields |= {f"tools.{index}.function": f"tools.{index}" for index in range(len(request.tools or ()))}
    fields["tool_choice.function"] = fields["tool_choice.allowed_tools"] = "tool_choice"
    for index in range(len(request.tools or ())):
        fields[f"tool_choice.allowed_tools.tools.{index}.function"] = f"tool_choice.tools.{index}"
    fields["max_tokens"] = "max_output_tokens"
    messages = _messages(request, fields)
    chat = chat_request(
        {
            "model": request.model,
            "messages": messages,
            "stream": request.stream,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_tokens": request.max_output_tokens,
            "tools": [_tool(tool) for tool in request.tools or ()] or None,
            "tool_choice": _tool_choice(request),
            "parallel_tool_calls": request.parallel_tool_calls,
            "response_format": _response_format(request.text.format if request.text else None),
        },
        fields,
    )
    return ShapedRequest(chat, partial(ResponsesReply, request), fields)


def _messages(request: ResponsesRequest, fields: dict[str, str]) -> list[dict[str, Any]]:
    """The conversation as chat messages; adds to `fields` the path of the item that each was made from."""
    messages: list[dict[str, Any]] = []
    if request.instructions:
        fields["messages.0"] = "instructions"
        messages.append({"role": "system", "content": request.instructions})
    items = [MessageItem(role="user", content=request.input)] if isinstance(request.input, str) else request.input
    reasoning = ""
    for number, item in enumerate(items):
        if isinstance(item, ReasoningItem):
            reasoning += "".join(part.text for part in item.content or ())
            continue
        field = "input" if isinstance(request.input, str) else f"input.{number}"
        if isinstance(item, FunctionCallItem) and messages and messages[-1]["role"] == "assistant":
            _add_call(item, messages, field, fields)
            continue
        fields[f"messages.{len(messages)}"] = field
        if isinstance(item, FunctionCallItem):
            messages.append({"role": "assistant", "content": ""})
            _add_call(item, messages, field, fields)
        elif isinstance(item, FunctionOutputItem):
            output = item.output if isinstance(item.output, str) else [_result_part(part) for part in item.output]
            messages.append({"role": "tool", "tool_call_id": item.call_id, "content": output})
            fields[f"messages.{len(messages) - 1}.content"] = f"{field}.output"
            fields[f"messages.{len(messages) - 1}.tool_call_id"] = f"{field}.call_id"
        else:
            messages.append({"role": item.role, "content": _content(item, field)})
        if reasoning and messages[-1]["role"] == "assistant":
            messages[-1]["reasoning_content"] = reasoning
        reasoning = ""
    if not any(message["role"] != "system" for message in messages) and not isinstance(request.input, str):
        raise ApiError(400, "input: it holds no question.", param="input", code="invalid_value")
    return messages


def _add_call(item: FunctionCallItem, messages: list[dict[str, Any]], field: str, fields: dict[str, str]) -> None:
    """Add a call to the last message, which is the answer it belongs to."""
    calls = messages[-1].setdefault("tool_calls", [])
    index = f"messages.{len(messages) - 1}.tool_calls.{len(calls)}"
    fields |= {index: field, f"{index}.function": field, f"{index}.id": f"{field}.call_id"}
    calls.append({"id": item.call_id, "type": "function", "function": {"name": item.name, "arguments": item.arguments}})


def _tool(tool: FunctionTool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": {name: value for name, value in function.items() if value is not None}}


def _tool_choice(request: ResponsesRequest) -> Any:
    choice = request.tool_choice
    if isinstance(choice, NamedFunction):
        return _named(choice)
    if isinstance(choice, AllowedFunctions):
        allowed = {"mode": choice.mode, "tools": [_named(value) for value in choice.tools]}
        return {"type": "allowed_tools", "allowed_tools": allowed}
    return choice


def _named(function: NamedFunction) -> dict[str, Any]:
    return {"type": "function", "function": {"name": function.name}}


def _content(item: MessageItem, field: str) -> str | list[Mapping[str, Any]]:
    if isinstance(item.content, str):
        return item.content
    return [_part(part, item.role, f"{field}.content.{number}") for number, part in enumerate(item.content)]


def _part(part: Any, role: str, field: str) -> Mapping[str, Any]:
    match part:
        case InputImage() if role != "user":
            reason = f"{field}: an image in a message of the role {role}; only the user's may hold images."
            raise ApiError(400, reason, param=field, code="invalid_value")
        case InputImage():
            return {"type": "image_url", "image_url": part.image_url}
        case Refusal():
            return {"type": "text", "text": part.refusal}
        case OutputText() if role != "assistant":
            reason = f"{field}: output_text in a message of the role {role}; it is of an answer."
            raise ApiError(400, reason, param=field, code="invalid_value")
        case _:
            return {"type": "text", "text": part.text}


def _result_part(part: InputText | InputImage) -> Mapping[str, Any]:
    if isinstance(part, InputImage):
        return {"type": "image_url", "image_url": part.image_url}
    return {"type": "text", "text": part.text}


def _response_format(text: TextFormat | None) -> dict[str, Any] | None:
    if text is None or text.type == "text":
        return None
    if text.type == "json_object":
        return {"type": "json_object"}
    missing = next((name for name, value in (("name", text.name), ("schema", text.schema_)) if value is None), None)
    if missing:
        field = f"text.format.{missing}"
        reason = f"Missing required parameter: {field}"
        raise ApiError(400, reason, param=field, code="missing_required_parameter")
    return {"type": "json_schema", "json_schema": {"name": text.name, "schema": text.schema_}}
