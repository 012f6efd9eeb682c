"""The tools and the tool choice of a request."""

import asyncio
import json
from typing import Any

from pixtral_cli.chat.tools import NamedTool, Tool, ToolChoice
from pixtral_cli.errors import UsageError
from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.openai.request_schema import (
    AllowedToolsChoice,
    ChatRequest,
    FunctionDefinition,
    NamedToolChoice,
)
from pixtral_cli.structured.schema_check import check
from pixtral_cli.structured.schema_limits import check_limits, is_simple

MAX_CHARACTERS = 400_000  # of all schemas together
NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


async def request_tools(request: ChatRequest, *, trusted: bool) -> dict[str, Any]:
    """The fields of `Sampling` about tools. Raises ApiError 400. `trusted`: the client has checked the schemas."""
    if not request.tools:
        if request.tool_choice not in (None, "auto", "none"):
            raise _invalid("tool_choice", "there are no tools to choose from.")
        return {}
    tools = [_tool(definition.function) for definition in request.tools]
    _check_names(tools)
    tools = _allowed(request, tools)
    if not trusted:
        await asyncio.to_thread(_check_schemas, tools)
    parallel = request.parallel_tool_calls is not False
    return {"tools": tuple(tools), "tool_choice": _choice(request, tools), "parallel_tool_calls": parallel}


def _invalid(param: str, reason: str) -> ApiError:
    return ApiError(400, f"{param}: {reason}", param=param, code="invalid_value")


def _tool(function: FunctionDefinition) -> Tool:
    return Tool(function.name, function.description or "", function.parameters or NO_ARGUMENTS)


def _allowed(request: ChatRequest, tools: list[Tool]) -> list[Tool]:
    """The tools that `tool_choice` allows, in their order; all of them by default."""
    if not isinstance(request.tool_choice, AllowedToolsChoice):
        return tools
    known = {tool.name for tool in tools}
    names = [choice.function.name for choice in request.tool_choice.allowed_tools.tools]
    for index, name in enumerate(names):
        if name not in known:
            field = f"tool_choice.allowed_tools.tools.{index}.function.name"
            raise _invalid(field, f"there is no tool {name!r}.")
    return [tool for tool in tools if tool.name in names]


def _check_names(tools: list[Tool]) -> None:
    seen: set[str] = set()
    for index, tool in enumerate(tools):
        if tool.name in seen:
            raise _invalid(f"tools.{index}.function.name", "two tools have this name.")
        seen.add(tool.name)


def _check_schemas(tools: list[Tool]) -> None:
    size = 0
    for index, tool in enumerate(tools):
        param = f"tools.{index}.function.parameters"
        if tool.parameters.get("type", "object") != "object":
            raise _invalid(param, "it must be the schema of an object.")
        try:
            size += len(json.dumps(tool.parameters))
            check_limits(tool.parameters)
            if is_simple(tool.parameters):  # of a larger schema the engine enforces what it can
                check(tool.parameters)
        except UsageError as error:
            raise ApiError(400, f"{param}: {error.message}.", param=param, code="invalid_json_schema") from None
        except RecursionError:
            raise _invalid(param, "it nests too deep.") from None
        if size > MAX_CHARACTERS:
            raise _invalid("tools", f"the schemas are larger than {MAX_CHARACTERS // 1000} kB.")


def _choice(request: ChatRequest, tools: list[Tool]) -> ToolChoice:
    match request.tool_choice:
        case None:
            return "auto"
        case "any":
            return "required"
        case NamedToolChoice(function=named):
            if all(tool.name != named.name for tool in tools):
                raise _invalid("tool_choice.function.name", f"there is no tool {named.name!r}.")
            return NamedTool(named.name)
        case AllowedToolsChoice(allowed_tools=allowed):
            return allowed.mode
        case choice:
            return choice
