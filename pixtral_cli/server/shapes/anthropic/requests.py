"""Anthropic's Messages API, `/v1/messages`: its requests as chat completion requests. The reply is in `reply`."""

import json
from typing import Any

from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.openai.request_schema import ChatRequest
from pixtral_cli.server.openai.requests import parse_body
from pixtral_cli.server.shapes.anthropic.reply import AnthropicReply
from pixtral_cli.server.shapes.anthropic.schema import (
    NO_EFFECT,
    AnthropicTool,
    AnthropicToolChoice,
    Block,
    CountTokensRequest,
    ImageBlock,
    MessageParam,
    MessagesRequest,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
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
    messages = _messages(request, fields)
    fields |= {"response_format": "output_config.format", "response_format.json_schema": "output_config.format"}
    fields["tool_choice.function"] = "tool_choice"
    for place in range(len(request.tools or ())):
        fields |= {f"tools.{place}.function": f"tools.{place}"}
        fields[f"tools.{place}.function.parameters"] = f"tools.{place}.input_schema"
    format = request.output_config.format if request.output_config else None
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": format.schema_}} if format else None
    choice = request.tool_choice
    value = {
        "model": request.model,
        "messages": messages,
        "response_format": schema,
        "tools": [_tool(tool) for tool in request.tools or ()] or None,
        "tool_choice": choice and _tool_choice(choice),
        "parallel_tool_calls": False if choice and choice.disable_parallel_tool_use else None,
    }
    return chat_request(value | sampling, fields)


def _tool(tool: AnthropicTool) -> dict[str, Any]:
    description = {"description": tool.description} if tool.description is not None else {}
    return {"type": "function", "function": {"name": tool.name, **description, "parameters": tool.input_schema}}


def _tool_choice(choice: AnthropicToolChoice) -> Any:
    if choice.type != "tool":
        return choice.type
    if choice.name is None:
        raise _invalid("tool_choice.name", "it names the tool.")
    return {"type": "function", "function": {"name": choice.name}}


def _messages(request: CountTokensRequest, fields: dict[str, str]) -> list[dict[str, Any]]:
    """The conversation as chat messages; a message with results of calls becomes several."""
    messages: list[dict[str, Any]] = []
    if request.system:
        fields["messages.0"] = "system"
        messages.append({"role": "system", "content": _system(request.system)})
    for number, message in enumerate(request.messages):
        field = f"messages.{number}"
        for index, block in enumerate(_blocks(message)):
            if isinstance(block, ToolResultBlock):
                _check_role(message, "user", f"{field}.content.{index}")
                messages.append(_result(block, f"{field}.content.{index}", len(messages), fields))
        place = len(messages)
        fields[f"messages.{place}"] = field
        content = message.content if isinstance(message.content, str) else _parts(message, field, place, fields)
        calls = _calls(message, field, place, fields)
        if content or calls or not messages or messages[-1]["role"] != "tool":
            messages.append({"role": message.role, "content": content or ""} | calls | _thought(message))
    if messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls"):
        messages[-1]["prefix"] = True  # this API's way to begin the answer
    return messages


def _blocks(message: MessageParam) -> list[Block]:
    return [] if isinstance(message.content, str) else message.content


def _system(prompt: str | list[TextBlock]) -> str:
    return prompt if isinstance(prompt, str) else "\n\n".join(block.text for block in prompt)


def _thought(message: MessageParam) -> dict[str, Any]:
    thinking = "".join(block.thinking for block in _blocks(message) if isinstance(block, ThinkingBlock))
    return {"reasoning_content": thinking} if thinking and message.role == "assistant" else {}


def _calls(message: MessageParam, field: str, place: int, fields: dict[str, str]) -> dict[str, Any]:
    calls: list[dict[str, Any]] = []
    for index, block in enumerate(_blocks(message)):
        if isinstance(block, ToolUseBlock):
            _check_role(message, "assistant", f"{field}.content.{index}")
            fields[f"messages.{place}.tool_calls.{len(calls)}"] = f"{field}.content.{index}"
            calls.append({"id": block.id, "function": {"name": block.name, "arguments": json.dumps(block.input)}})
    return {"tool_calls": calls} if calls else {}


def _result(block: ToolResultBlock, field: str, place: int, fields: dict[str, str]) -> dict[str, Any]:
    """The message of a call's result, whose texts become one."""
    fields |= {f"messages.{place}": field, f"messages.{place}.tool_call_id": f"{field}.tool_use_id"}
    inside = block.content if isinstance(block.content, list) else []
    text = block.content if isinstance(block.content, str) else ""
    text = text or "\n".join(part.text for part in inside if isinstance(part, TextBlock))
    content: list[dict[str, Any]] = [{"type": "text", "text": text}]
    for number, part in enumerate(inside):
        if isinstance(part, ImageBlock):
            fields[f"messages.{place}.content.{len(content)}.image_url"] = f"{field}.content.{number}.source"
            content.append({"type": "image_url", "image_url": part.url})
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": content}


def _parts(message: MessageParam, field: str, place: int, fields: dict[str, str]) -> list[dict[str, Any]]:
    """Texts and images of a message."""
    parts: list[dict[str, Any]] = []
    for index, block in enumerate(_blocks(message)):
        if isinstance(block, TextBlock):
            parts.append({"type": "text", "text": block.text})
        elif isinstance(block, ImageBlock):
            where = f"{field}.content.{index}"
            _check_role(message, "user", where)
            fields[f"messages.{place}.content.{len(parts)}.image_url"] = f"{where}.source"
            parts.append({"type": "image_url", "image_url": block.url})
    return parts


def _check_role(message: MessageParam, role: str, field: str) -> None:
    if message.role != role:
        raise _invalid(field, f"it stands in a message of the role {message.role}, and belongs in one of the {role}.")


def _invalid(field: str, why: str) -> ApiError:
    return ApiError(400, f"{field}: {why}", param=field, code="invalid_value")
