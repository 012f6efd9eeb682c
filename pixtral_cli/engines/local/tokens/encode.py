"""Encodes a conversation to tokens and the positions of its images. Decodes no pixels and needs no weights."""

import re
from base64 import b32encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from mistral_common.protocol.instruct.chunk import ContentChunk, ImageChunk, TextChunk, ThinkChunk
from mistral_common.protocol.instruct.messages import (
    AssistantMessage,
    ChatMessage,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from mistral_common.protocol.instruct.tool_calls import FunctionCall, ToolCall
from PIL import Image as PILImage

from pixtral_cli.chat.message import Message, Part
from pixtral_cli.chat.tools import Tool
from pixtral_cli.engines.local.tokens.tokenizer import PatchGrid, Tokenizer
from pixtral_cli.errors import ContextError, UsageError
from pixtral_cli.images.image import Image

TEMPLATE_ID = re.compile(r"[a-zA-Z0-9]{9}")
THINKING = re.compile(r"\[THINK\](.*?)\[/THINK\]", re.DOTALL)
# The tokenizer's regular expression fails on a run of more than about 300,000 white space characters.
LONG_WHITESPACE = re.compile(r"(?<!\s)\s{100001}")


@dataclass(frozen=True, slots=True)
class PromptImage:
    """An image of a prompt. `grid`: the patches it is resized to; its tokens are [start, stop)."""

    image: Image
    grid: PatchGrid
    start: int

    @property
    def stop(self) -> int:
        return self.start + self.grid.tokens

    @property
    def key(self) -> tuple[str, int, int]:
        """Equal for images from which the model computes the same features."""
        return self.image.key, self.grid.width, self.grid.height


@dataclass(frozen=True, slots=True)
class Prompt:
    """An encoded conversation."""

    tokens: list[int]
    images: tuple[PromptImage, ...]

    @property
    def image_tokens(self) -> int:
        return sum(image.grid.tokens for image in self.images)


def encode(messages: Sequence[Message], tokenizer: Tokenizer, window: int, tools: Sequence[Tool] = ()) -> Prompt:
    """The prompt of a conversation that ends with a user message, a tool's result or an answer to continue.

    Raises UsageError for a conversation that cannot be answered, ContextError when texts and images certainly take more
    than `window` tokens.
    """
    _check_roles(messages)
    images = [part for message in messages for part in message.images]
    if images and not tokenizer.images:
        raise UsageError("This model has no vision encoder, and the conversation holds an image", "Leave the image out")
    grids = [tokenizer.grid(image.size) for image in images]
    _check_length(messages, grids, tokenizer, window)
    tokens = tokenizer.encode(list(_to_mistral_messages(messages, tokenizer)), tools)
    return Prompt(tokens, tuple(_locate_images(tokens, images, grids, tokenizer)))


def _check_roles(messages: Sequence[Message]) -> None:
    """Raises UsageError for a last message that cannot be answered, and for images outside user messages."""
    last = messages[-1] if messages else None
    if last is None or not (last.role in ("user", "tool") or (last.role == "assistant" and last.prefix)):
        raise UsageError(
            "The last message of a conversation must be the user's",
            "Or a tool's result, or the beginning of an answer: prefix true",
        )
    for message in messages:
        if message.role != "user" and message.images:
            raise UsageError(
                f"There is an image in a message of role {message.role!r}; only the user's may hold images"
            )


def _check_length(messages: Sequence[Message], grids: list[PatchGrid], tokenizer: Tokenizer, window: int) -> None:
    """Raises ContextError for text and images that cannot fit, before the tokenizer spends time on them."""
    image_tokens = sum(grid.tokens for grid in grids)
    if image_tokens > window:
        count = f"{len(grids)} images take" if len(grids) > 1 else "The image takes"
        raise ContextError(
            f"{count} {image_tokens:,} tokens, the context window is {window:,}", "Send fewer images, or smaller ones"
        )
    size = sum(len(text.encode(errors="replace")) for message in messages for text in _texts(message))
    if size > window and (least := image_tokens + size // tokenizer.longest_token) > window:
        raise ContextError(
            f"The conversation takes at least {least:,} tokens, the context window is {window:,}", "Shorten the text"
        )
    for text in (text for message in messages for text in _texts(message)):
        if match := LONG_WHITESPACE.search(text):
            raise ContextError(
                f"The text holds over 100,000 spaces or line breaks in a row at character {match.start():,}",
                "Leave them out",
            )


def _texts(message: Message) -> Iterator[str]:
    """The texts of a message that are tokenized."""
    yield message.text
    yield from (call.arguments for call in message.tool_calls)


def _to_mistral_messages(messages: Sequence[Message], tokenizer: Tokenizer) -> Iterator[ChatMessage]:
    """The messages for mistral_common, in a form that every template accepts: one system prompt, no empty answers.

    The templates keep the order of texts and images, but put a message's only image first if all its text precedes it.
    """
    if instructions := "\n\n".join(message.text for message in messages if message.role == "system"):
        yield SystemMessage(content=_with_thinking(instructions) if tokenizer.thinks_in_system_prompt else instructions)
    for message in messages:
        if message.role == "user":
            yield UserMessage(content=[_chunk(part, tokenizer) for part in _join_texts(message.parts)])
        elif message.role == "tool":
            yield ToolMessage(
                content=message.text, tool_call_id=_template_id(message.tool_call_id), name=message.name or None
            )
        elif message.role == "assistant" and (message.text or message.tool_calls):
            yield _assistant_message(message, tokenizer)


def _assistant_message(message: Message, tokenizer: Tokenizer) -> AssistantMessage:
    """An earlier answer: text, calls or both; only the calls where the template cannot have both."""
    calls = [
        ToolCall(id=_template_id(call.id), function=FunctionCall(name=call.name, arguments=call.arguments))
        for call in message.tool_calls
    ]
    text = message.text if not calls or tokenizer.has_text_with_calls else ""
    chunks: list[ContentChunk] = [TextChunk(text=text)] if text else []
    if message.reasoning and tokenizer.think_tokens:
        chunks.insert(0, ThinkChunk(thinking=message.reasoning))
        return AssistantMessage(content=chunks, tool_calls=calls or None, prefix=message.prefix)
    return AssistantMessage(content=text or None, tool_calls=calls or None, prefix=message.prefix)


def _template_id(call_id: str) -> str:
    """The id of a call as the templates require it: nine letters and digits, equal for equal ids."""
    if TEMPLATE_ID.fullmatch(call_id):
        return call_id
    return b32encode(sha256(call_id.encode()).digest()).decode()[:9]


def _with_thinking(text: str) -> list[ContentChunk]:
    """The chunks of a vendor's system prompt, in which [THINK]…[/THINK] shows the form of reasoning."""
    parts = THINKING.split(text)
    chunks = [ThinkChunk(thinking=part) if index % 2 else TextChunk(text=part) for index, part in enumerate(parts)]
    return [chunk for chunk in chunks if isinstance(chunk, ThinkChunk) or chunk.text]


def _join_texts(parts: Sequence[Part]) -> Iterator[Part]:
    """The parts with adjacent texts joined, which mistral_common would separate by empty lines; the last one is a text."""
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        if text:
            yield text
        text = ""
        yield part
    yield text


def _chunk(part: Part, tokenizer: Tokenizer) -> ContentChunk:
    """A part as mistral_common's chunk; an image as a placeholder with one pixel for each image token."""
    if isinstance(part, str):
        return TextChunk(text=part)
    grid = tokenizer.grid(part.size)
    return ImageChunk(image=PILImage.new("L", (grid.columns, grid.rows)))


def _locate_images(
    tokens: list[int], images: list[Image], grids: list[PatchGrid], tokenizer: Tokenizer
) -> Iterator[PromptImage]:
    """The images with the positions of their tokens, in order."""
    start = 0
    for image, grid in zip(images, grids, strict=True):
        start = tokens.index(tokenizer.image_token, start)
        yield PromptImage(image, grid, start)
        start += grid.tokens
