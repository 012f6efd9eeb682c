"""The grammar of tool calls in the form of a chat template, each tool's arguments constrained by its schema.

Imports no torch.
"""

import json
from collections.abc import Sequence
from typing import Any

from llguidance import LLMatcher

from pixtral_cli.chat.tools import Tool
from pixtral_cli.engines.local.generation.grammar import GRAMMAR_OPTIONS, LIMITS
from pixtral_cli.engines.local.generation.schema_process import try_schema
from pixtral_cli.engines.local.tokens.tool_tokens import ToolTokens
from pixtral_cli.errors import UsageError
from pixtral_cli.structured.schema_limits import check_limits, is_simple
from pixtral_cli.util.lru import LruCache

MAX_CALLS = 32  # in one answer
ANY_OBJECT: dict[str, Any] = {"type": "object"}
# Keywords of schemas that do not say whether other arguments than the named ones are allowed.
CLOSABLE_KEYWORDS = frozenset(
    {"type", "properties", "required", "title", "description", "$schema", "$defs", "definitions"}
)
CACHE_CHARACTERS = 4_000_000  # of schemas
_argument_schemas: LruCache[str, str] = LruCache(CACHE_CHARACTERS)


def compile_tools(tools: Sequence[Tool], tokens: ToolTokens, *, parallel: bool) -> str:
    """The grammar of what follows the first [TOOL_CALLS] of an answer: one call, or with `parallel` several.

    A schema that llguidance does not support is enforced in part: without the keywords that it does not know, or as any
    object.
    """
    listed = f'(", " call){{0,{MAX_CALLS - 1}}}' if parallel else ""
    repeated = f"(<[{tokens.tool_calls}]> call){{0,{MAX_CALLS - 1}}}" if parallel else ""
    names = " | ".join(f"call_{index}" for index in range(len(tools)))
    rules = [f"arguments_{index}: %json {_argument_schema(tool)}" for index, tool in enumerate(tools)]
    if tokens.args is None:
        rules += [_listed_call(index, tool) for index, tool in enumerate(tools)]
        start = f'start: "[" call {listed} "]"'
        rules.append('id: ", \\"id\\": \\"" /[a-zA-Z0-9]{9}/ "\\""')
    else:
        call_id = "" if tokens.call_id is None else f"(<[{tokens.call_id}]> /[a-zA-Z0-9]{{9}}/)?"
        rules += [
            f'call_{index}: "{tool.name}" {call_id} <[{tokens.args}]> arguments_{index}'
            for index, tool in enumerate(tools)
        ]
        start = f"start: call {repeated}"
    return "\n".join([start, f"call: {names}", *rules, ""])


def _listed_call(index: int, tool: Tool) -> str:
    """The rule of a call in the JSON list of templates before v11."""
    return f'call_{index}: "{{\\"name\\": \\"{tool.name}\\", \\"arguments\\": " arguments_{index} id? "}}"'


def _argument_schema(tool: Tool) -> str:
    """The schema of a tool's arguments, as JSON that llguidance accepts."""
    key = json.dumps(tool.parameters)
    if (text := _argument_schemas.get(key)) is None:
        schema = _without_extra_arguments(tool.parameters)
        attempts: list[tuple[dict[str, Any], dict[str, Any]]] = [(ANY_OBJECT, GRAMMAR_OPTIONS)]
        if _is_affordable(schema):
            attempts = [(schema, GRAMMAR_OPTIONS), (schema, GRAMMAR_OPTIONS | {"lenient": True}), *attempts]
        candidates = (json.dumps({**candidate, "x-guidance": options}) for candidate, options in attempts)
        text = next(filter(_is_valid, candidates))
        _argument_schemas.put(key, text, len(key))
    return text


def _without_extra_arguments(parameters: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with no other properties than the named ones, unless the schema says otherwise."""
    schema = {"type": "object", **{name: value for name, value in parameters.items() if name != "x-guidance"}}
    if schema.keys() <= CLOSABLE_KEYWORDS:
        schema["additionalProperties"] = False
    return schema


def _is_affordable(schema: dict[str, Any]) -> bool:
    """Whether the schema can be compiled within limits; one that is not simple is tried in another process."""
    try:
        check_limits(schema)
        if not is_simple(schema):
            try_schema(json.dumps(schema))
    except UsageError:
        return False
    return True


def _is_valid(schema: str) -> bool:
    """Whether llguidance accepts the schema."""
    try:
        return not LLMatcher.validate_grammar(f"start: %json {schema}\n", limits=LIMITS)
    except (ValueError, RecursionError):
        return False
