"""A message of a conversation: texts and images in their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pixtral_cli.chat.tools import ToolCall
from pixtral_cli.images.image import Image

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]
Part: TypeAlias = str | Image


@dataclass(frozen=True, slots=True)
class CallResult:
    """A call that was run (or declined) while an answer was made, and what the model was given of it."""

    call: ToolCall
    text: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolRound:
    """The calls that a model made at once within an answer, with their results.

    They come after the first `text_end` characters of the answer's text and the first `reasoning_end` of its thinking.
    """

    results: tuple[CallResult, ...]
    text_end: int = 0
    reasoning_end: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """One turn's words and images, in the order the model sees them.

    `interrupted` marks an assistant's answer that was stopped before its end; `reasoning` is what the assistant thought
    before the answer, which engines hand to a model whose chat template keeps it. `rounds` are the calls that were run
    while the answer was made: a conversation keeps them in the answer, engines are given messages without (see
    `tool_rounds`), whose `tool_calls` and results stand apart.
    """

    role: Role
    parts: tuple[Part, ...]
    interrupted: bool = False
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""
    prefix: bool = False
    rounds: tuple[ToolRound, ...] = ()

    @property
    def text(self) -> str:
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def images(self) -> tuple[Image, ...]:
        return tuple(part for part in self.parts if isinstance(part, Image))

    @property
    def all_images(self) -> tuple[Image, ...]:
        """The images of the message, and before them those that tools have shown while the answer was made."""
        shown = (image for each in self.rounds for result in each.results for image in result.images)
        return (*shown, *self.images)


def system(text: str) -> Message:
    return Message("system", (text,))


def user(text: str, images: Sequence[Image] = ()) -> Message:
    """A user's message: the images precede the text."""
    return Message("user", (*images, text))


def assistant(
    text: str,
    *,
    interrupted: bool = False,
    reasoning: str = "",
    tool_calls: tuple[ToolCall, ...] = (),
    rounds: tuple[ToolRound, ...] = (),
) -> Message:
    return Message("assistant", (text,), interrupted, reasoning, tool_calls, rounds=rounds)


def tool_result(call: ToolCall, text: str, images: Sequence[Image] = ()) -> Message:
    """A result as a transcript has it, with its images; an engine takes a message of role tool without any."""
    return Message("tool", (text, *images), tool_call_id=call.id, name=call.name)
