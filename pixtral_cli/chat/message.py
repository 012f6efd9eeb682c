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
    """One message: texts and images in the order in which the model sees them.

    `interrupted`: an answer that was stopped before its end. `reasoning`: the thinking before an answer, which engines
    pass on to a model whose chat template has a place for it. `tool_calls`: the calls that an answer makes.
    `tool_call_id` and `name`: the call that a message of the role "tool" is the result of, and its function. `prefix`:
    an assistant's message that the answer is to continue (La Plateforme's field).
    `rounds`: the calls that were run while the answer was made. A conversation keeps them in the answer; engines are
    given separate messages instead (see `tool_rounds`).
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
        """Its texts, joined; images are left out."""
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
    """A system prompt."""
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
    """An answer."""
    return Message("assistant", (text,), interrupted, reasoning, tool_calls, rounds=rounds)


def tool_result(call: ToolCall, text: str, images: Sequence[Image] = ()) -> Message:
    """The result of a tool call with its images, as transcripts have it; engines are given results without images."""
    return Message("tool", (text, *images), tool_call_id=call.id, name=call.name)
