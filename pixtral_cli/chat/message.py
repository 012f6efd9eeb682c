"""A message of a conversation: texts and images in their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pixtral_cli.chat.tools import ToolCall
from pixtral_cli.images.image import Image

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
Part: TypeAlias = str | Image


@dataclass(frozen=True, slots=True)
class Message:
    """One turn's words and images, in the order the model sees them.

    `interrupted` marks an assistant's answer that was stopped before its end; `reasoning` is what the assistant thought
    before the answer, which engines hand to a model whose chat template keeps it.
    """

    role: Role
    parts: tuple[Part, ...]
    interrupted: bool = False
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""
    prefix: bool = False

    @property
    def text(self) -> str:
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(part for part in self.parts if isinstance(part, Image))


def system(text: str) -> Message:
    return Message("system", (text,))


def user(text: str, images: Sequence[Image] = ()) -> Message:
    """A user's message: the images precede the text."""
    return Message("user", (*images, text))


def assistant(
    text: str, *, interrupted: bool = False, reasoning: str = "", tool_calls: tuple[ToolCall, ...] = ()
) -> Message:
    return Message("assistant", (text,), interrupted, reasoning, tool_calls)


def tool_result(call: ToolCall, text: str) -> Message:
    return Message("tool", (text,), tool_call_id=call.id, name=call.name)
