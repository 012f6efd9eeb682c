"""Tools that a model may call: their definitions, its calls, and which of them it must call. The client runs them."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pixtral_cli.util.sanitize import visible

MAX_SHOWN = 200  # characters of an argument


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
    """A piece of the call number `index` of an answer. The first piece carries `id` and `name`, later ones `arguments`."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class NamedTool:
    """The choice of one tool, which the answer is to call."""

    name: str


# auto: text or calls, as the model likes; required: at least one call; none: text alone.
ToolChoice: TypeAlias = Literal["auto", "none", "required"] | NamedTool


def call_in_words(call: ToolCall) -> str:
    """The call as code would make it, harmless and on one line."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        return f"{visible(call.name)}({visible(call.arguments, MAX_SHOWN)})"
    given = ", ".join(
        f"{visible(name, 40)}={visible(json.dumps(value, ensure_ascii=False), MAX_SHOWN)}"
        for name, value in arguments.items()
    )
    return f"{visible(call.name)}({given})"


class ToolCallCollector:
    """Joins the pieces of an answer's calls."""

    def __init__(self) -> None:
        self._calls: dict[int, ToolCall] = {}

    def add(self, pieces: tuple[ToolCallDelta, ...]) -> None:
        for piece in pieces:
            call = self._calls.get(piece.index, ToolCall("", "", ""))
            self._calls[piece.index] = ToolCall(
                call.id or piece.id, call.name or piece.name, call.arguments + piece.arguments
            )

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls so far, in the order of their numbers."""
        return tuple(self._calls[index] for index in sorted(self._calls))
