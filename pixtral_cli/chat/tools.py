"""Tools that a model may call: definitions, calls and the choice among them. Running them is the client's task."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pixtral_cli.util.sanitize import visible

MAX_SHOWN_ARGUMENT = 200  # characters of an argument or a result that are shown


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call. `parameters` is the JSON schema of its arguments, an object."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call in a model's answer. `arguments` is JSON text, an object unless the answer was cut off within it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of call number `index` (from 0) of an answer. The first has `id` and `name`, later ones `arguments` to append."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class NamedTool:
    """The tool choice that makes the answer call one tool."""

    name: str


# auto: text, calls or both; required: at least one call; none: text only.
ToolChoice: TypeAlias = Literal["auto", "none", "required"] | NamedTool


def format_call(call: ToolCall) -> str:
    """The call as one line of code, `name(argument=value)`: control characters visible, long arguments shortened."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        return f"{visible(call.name)}({visible(call.arguments, MAX_SHOWN_ARGUMENT)})"
    given = ", ".join(
        f"{visible(name, 40)}={visible(json.dumps(value, ensure_ascii=False), MAX_SHOWN_ARGUMENT)}"
        for name, value in arguments.items()
    )
    return f"{visible(call.name)}({given})"


class ToolCallCollector:
    """Joins the pieces of an answer's tool calls."""

    def __init__(self) -> None:
        self._calls: dict[int, ToolCall] = {}

    def add(self, pieces: tuple[ToolCallDelta, ...]) -> None:
        """Append the pieces of one chunk."""
        for piece in pieces:
            call = self._calls.get(piece.index, ToolCall("", "", ""))
            self._calls[piece.index] = ToolCall(
                call.id or piece.id, call.name or piece.name, call.arguments + piece.arguments
            )

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls so far, in the order of their numbers."""
        return tuple(self._calls[index] for index in sorted(self._calls))
