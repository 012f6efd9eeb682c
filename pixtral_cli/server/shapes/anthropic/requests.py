"""Anthropic's Messages API, `/v1/messages`: translates requests. Replies are in `reply`."""

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
    """Translates a request for a message. Raises ApiError 400, naming the field."""
    request = parse_body(MessagesRequest, body, NO_EFFECT)
    fields = {"stop": "stop_sequences"}
    chat = _to_chat_request(
        request,
        fields,
        stream=request.stream,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        max_tokens=request.max_tokens,
        stop=request.stop_sequences,
    )
    return ShapedRequest(chat, AnthropicReply, fields, counts_prompt=bool(request.stream))


def parse_count(body: bytearray) -> ShapedRequest:
    """Translates a request to `/v1/messages/count_tokens`. Raises ApiError 400, naming the field."""
    request = parse_body(CountTokensRequest, body, NO_EFFECT)
    fields: dict[str, str] = {}
    return ShapedRequest(_to_chat_request(request, fields), AnthropicReply, fields)


def _to_chat_request(request: CountTokensRequest, fields: dict[str, str], **sampling: Any) -> ChatRequest:
    messages = _messages(request, fields)
    fields |= {"response_format": "output_config.format", "response_format.json_schema": "output_config.format"}
    fields["tool_choice.function"] = "tool_choice"
    for index in range(len(request.tools or ())):
        fields |= {f"tools.{index}.function": f"tools.{index}"}
        fields[f"tools.{index}.function.parameters"] = f"tools.{index}.input_schema"
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
    """The conversation as chat messages. A message with tool results becomes several; adds to `fields` the path of each."""
    messages: list[dict[str, Any]] = []
    if request.system:
        fields["messages.0"] = "system"
        messages.append({"role": "system", "content": _system(request.system)})
    for number, message in enumerate(request.messages):
        field = f"messages.{number}"
        for block_index, block in enumerate(_blocks(message)):
            if isinstance(block, ToolResultBlock):
                _check_role(message, "user", f"{field}.content.{block_index}")
                messages.append(_result(block, f"{field}.content.{block_index}", len(messages), fields))
        index = len(messages)
        fields[f"messages.{index}"] = field
        content = message.content if isinstance(message.content, str) else _parts(message, field, index, fields)
        calls = _calls(message, field, index, fields)
        if content or calls or not messages or messages[-1]["role"] != "tool":
            messages.append({"role": message.role, "content": content or ""} | calls | _reasoning_field(message))
    if messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls"):
        messages[-1]["prefix"] = True  # in this API, a last message of the assistant is the beginning of the answer
    return messages


def _blocks(message: MessageParam) -> list[Block]:
    return [] if isinstance(message.content, str) else message.content


def _system(prompt: str | list[TextBlock]) -> str:
    return prompt if isinstance(prompt, str) else "\n\n".join(block.text for block in prompt)


def _reasoning_field(message: MessageParam) -> dict[str, Any]:
    thinking = "".join(block.thinking for block in _blocks(message) if isinstance(block, ThinkingBlock))
    return {"reasoning_content": thinking} if thinking and message.role == "assistant" else {}


def _calls(message: MessageParam, field: str, index: int, fields: dict[str, str]) -> dict[str, Any]:
    calls: list[dict[str, Any]] = []
    for block_index, block in enumerate(_blocks(message)):
        if isinstance(block, ToolUseBlock):
            _check_role(message, "assistant", f"{field}.content.{block_index}")
            fields[f"messages.{index}.tool_calls.{len(calls)}"] = f"{field}.content.{block_index}"
            calls.append({"id": block.id, "function": {"name": block.name, "arguments": json.dumps(block.input)}})
    return {"tool_calls": calls} if calls else {}


def _result(block: ToolResultBlock, field: str, index: int, fields: dict[str, str]) -> dict[str, Any]:
    """The chat message of a tool result, its texts joined."""
    fields |= {f"messages.{index}": field, f"messages.{index}.tool_call_id": f"{field}.tool_use_id"}
    parts = block.content if isinstance(block.content, list) else []
    text = block.content if isinstance(block.content, str) else ""
    text = text or "\n".join(part.text for part in parts if isinstance(part, TextBlock))
    content: list[dict[str, Any]] = [{"type": "text", "text": text}]
    for number, part in enumerate(parts):
        if isinstance(part, ImageBlock):
            fields[f"messages.{index}.content.{len(content)}.image_url"] = f"{field}.content.{number}.source"
            content.append({"type": "image_url", "image_url": part.url})
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": content}


def _parts(message: MessageParam, field: str, index: int, fields: dict[str, str]) -> list[dict[str, Any]]:
    """The texts and images of a message as parts."""
    parts: list[dict[str, Any]] = []
    for block_index, block in enumerate(_blocks(message)):
        if isinstance(block, TextBlock):
            parts.append({"type": "text", "text": block.text})
        elif isinstance(block, ImageBlock):
            where = f"{field}.content.{block_index}"
            _check_role(message, "user", where)
            fields[f"messages.{index}.content.{len(parts)}.image_url"] = f"{where}.source"
            parts.append({"type": "image_url", "image_url": block.url})
    return parts


def _check_role(message: MessageParam, role: str, field: str) -> None:
    if message.role != role:
        raise _invalid(field, f"it stands in a message of the role {message.role}, and belongs in one of the {role}.")


def _invalid(field: str, reason: str) -> ApiError:
    return ApiError(400, f"{field}: {reason}", param=field, code="invalid_value")
