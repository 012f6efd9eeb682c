"""Converts the messages of a request to the engine's: loads images, and checks the order of tool calls and results."""

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from pixtral_cli.chat import tools
from pixtral_cli.chat.message import Message, Part, system
from pixtral_cli.errors import ImageError, PixtralError
from pixtral_cli.images.image import Image
from pixtral_cli.server.http.errors import ApiError, from_image_error
from pixtral_cli.server.openai.request_messages import (
    AssistantMessage,
    FunctionCall,
    ImagePart,
    RefusalPart,
    RequestMessage,
    SystemMessage,
    TextPart,
    ThinkingPart,
    ToolMessage,
    UserMessage,
    check_value,
)
from pixtral_cli.server.openai.request_schema import AllowedToolsChoice, ChatRequest

MAX_IMAGES = 128
MAX_URLS = 16
MAX_PIXELS = 512_000_000  # the sum over all images of a request
SECONDS_FOR_IMAGES = 60
# Published in La Plateforme's documentation of `safe_prompt`.
SAFE_PROMPT = (
    "Always assist with care, respect, and truth. Respond with utmost utility yet securely. Avoid harmful, unethical, "
    "prejudiced, or negative content. Ensure replies promote fairness and positivity."
)

ImageLoader: TypeAlias = Callable[[str], Sequence[Image]]  # the image at a URL, or the pages of a document


async def conversation(request: ChatRequest, load: ImageLoader) -> tuple[Message, ...]:
    """The messages with their images loaded. Raises ApiError 400, naming the field."""
    _check_last_message(request)
    _check_images(request.messages)
    calls = _check_calls(request.messages)
    try:
        async with asyncio.timeout(SECONDS_FOR_IMAGES) as limit:
            limited = _with_pixel_limit(load)
            messages = await _to_messages(request.messages, limited, calls)
    except TimeoutError:
        if not limit.expired():
            raise
        raise ApiError(400, "The images took too long to fetch.", param="messages", code="image_unreachable") from None
    return (system(SAFE_PROMPT), *messages) if request.safe_prompt else tuple(messages)


def _invalid(param: str, reason: str) -> ApiError:
    return ApiError(400, f"{param}: {reason}", param=param, code="invalid_value")


def _check_last_message(request: ChatRequest) -> None:
    """Raises ApiError unless the last message is a question, a tool's result, or an answer to continue as text (`prefix`)."""
    *before, last = request.messages
    index = len(before)
    for number, message in enumerate(before):
        if isinstance(message, AssistantMessage) and message.prefix:
            raise _invalid(f"messages.{number}.prefix", "only the last message can be continued.")
    if isinstance(last, UserMessage | ToolMessage):
        return
    if not isinstance(last, AssistantMessage) or not last.prefix:
        raise _invalid(
            f"messages.{index}.role",
            "the last message must be the user's, a tool's result, or the assistant's with prefix.",
        )
    prefix = f"messages.{index}.prefix"
    if last.tool_calls or not _answer_text(last):
        raise _invalid(prefix, "there is no text to continue.")
    if request.response_format and request.response_format.type != "text":
        raise _invalid(prefix, "an answer cannot be continued and satisfy response_format.")
    allowed = isinstance(request.tool_choice, AllowedToolsChoice) and request.tool_choice.allowed_tools.mode == "auto"
    if request.tools and request.tool_choice not in (None, "auto", "none") and not allowed:
        raise _invalid(prefix, "an answer cannot be continued where tool_choice asks for a call.")


def _check_images(messages: Sequence[RequestMessage]) -> None:
    parts = [part for message in messages if isinstance(message.content, list) for part in message.content]
    urls = [part.url for part in parts if isinstance(part, ImagePart)]
    fetched = [url for url in urls if url[:5].lower() in ("http:", "https")]
    if len(urls) > MAX_IMAGES or len(fetched) > MAX_URLS:
        limits = f"at most {MAX_IMAGES} images, {MAX_URLS} of them by URL"
        raise ApiError(400, f"Too many images: {limits}.", param="messages", code="too_many_images")


def _check_calls(messages: Sequence[RequestMessage]) -> dict[int, tuple[str, str]]:
    """Check that each result belongs to a call of the answer before it, and each call has a result before the next message.

    Returns the id and the tool's name of each result's call, by the index of the result's message.
    """
    calls: dict[int, tuple[str, str]] = {}
    open_calls: dict[str, str] = {}
    answer_index = 0
    for index, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            calls[index] = _answered_call(message, index, open_calls)
            del open_calls[calls[index][0]]
        elif isinstance(message, AssistantMessage | UserMessage) and open_calls:
            missing = next(iter(open_calls))
            raise _invalid(f"messages.{answer_index}.tool_calls", f"the call {missing[:60]!r} has no result.")
        if isinstance(message, AssistantMessage):
            answer_index = index
            for number, call in enumerate(message.tool_calls or ()):
                if call.id in open_calls:
                    raise _invalid(f"messages.{index}.tool_calls.{number}.id", "two calls have this id.")
                open_calls[call.id] = call.function.name
    if open_calls:
        raise _invalid(
            f"messages.{answer_index}.tool_calls", f"the call {next(iter(open_calls))[:60]!r} has no result."
        )
    return calls


def _answered_call(message: ToolMessage, index: int, open_calls: Mapping[str, str]) -> tuple[str, str]:
    """The id and the tool's name of a result's call. `open_calls`: the names of the calls without a result, by id."""
    if (key := message.tool_call_id) is not None:
        if key not in open_calls:
            raise _invalid(f"messages.{index}.tool_call_id", "it is the id of no call that waits for its result.")
        return key, open_calls[key]
    for key, name in open_calls.items():
        if message.name in (None, name):
            return key, name
    raise _invalid(f"messages.{index}.tool_call_id", "it is missing, and no call waits for this result.")


def _with_pixel_limit(load: ImageLoader) -> ImageLoader:
    """A loader for one request; raises ImageError for an image with which the request exceeds its limits."""
    pixels = count = 0

    def load_counted(source: str) -> Sequence[Image]:
        nonlocal pixels, count
        loaded = load(source)
        pixels += sum(image.width * image.height for image in loaded)
        count += len(loaded)
        if count > MAX_IMAGES:
            raise ImageError(
                f"The request has more than {MAX_IMAGES} images, pages of documents included", "Send fewer."
            )
        if pixels > MAX_PIXELS:
            raise ImageError(
                f"The images have more than {MAX_PIXELS // 10**6} million pixels in all", "Scale them down."
            )
        return loaded

    return load_counted


async def _to_messages(
    request_messages: Sequence[RequestMessage], load: ImageLoader, calls: Mapping[int, tuple[str, str]]
) -> list[Message]:
    """The messages. Images in results of calls are put before the next question, or become a message of their own."""
    messages: list[Message] = []
    pending_images: list[Part] = []  # images of results that are not in a question yet
    for index, message in enumerate(request_messages):
        where = f"messages.{index}"
        if isinstance(message, ToolMessage):
            parts = await _load_content(message.content or "", where, load)
            texts = tuple(part for part in parts if isinstance(part, str))
            pending_images += [part for part in parts if not isinstance(part, str)]
            messages.append(Message("tool", texts or ("",), tool_call_id=calls[index][0], name=calls[index][1]))
            continue
        converted = await _to_message(message, where, load)
        if pending_images and converted.role != "system":
            if converted.role == "user":
                converted = replace(converted, parts=(*pending_images, *converted.parts))
            else:
                messages.append(Message("user", tuple(pending_images)))
            pending_images = []
        messages.append(converted)
    return [*messages, Message("user", tuple(pending_images))] if pending_images else messages


async def _to_message(
    message: SystemMessage | AssistantMessage | UserMessage, where: str, load: ImageLoader
) -> Message:
    match message:
        case SystemMessage():
            return Message("system", _text_parts(message.content))
        case AssistantMessage():
            return _assistant_message(message, where)
        case UserMessage():
            return Message("user", await _load_content(message.content, where, load))


async def _load_content(
    content: str | Sequence[TextPart | ImagePart], where: str, load: ImageLoader
) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (content,)
    parts = [await _load_part(part, f"{where}.content.{index}", load) for index, part in enumerate(content)]
    return tuple(itertools.chain.from_iterable(parts))


def _assistant_message(message: AssistantMessage, where: str) -> Message:
    reasoning = message.reasoning_content or message.reasoning or ""
    if isinstance(message.content, list):
        reasoning += "".join(part.text for part in message.content if isinstance(part, ThinkingPart))
    calls = tuple(
        tools.ToolCall(call.id, call.function.name, _arguments(call.function, f"{where}.tool_calls.{number}.function"))
        for number, call in enumerate(message.tool_calls or ())
    )
    return Message(
        "assistant", (_answer_text(message),), reasoning=reasoning, tool_calls=calls, prefix=bool(message.prefix)
    )


def _answer_text(message: AssistantMessage) -> str:
    if isinstance(message.content, list):
        text = [
            part.refusal if isinstance(part, RefusalPart) else part.text
            for part in message.content
            if not isinstance(part, ThinkingPart)
        ]
        return "".join(text) or message.refusal or ""
    return message.content or message.refusal or ""


def _arguments(call: FunctionCall, where: str) -> str:
    """The arguments of a call as JSON text. Raises ApiError if they are not a JSON object."""
    if isinstance(call.arguments, dict):
        return json.dumps(call.arguments, ensure_ascii=False)
    try:
        value = check_value(json.loads(call.arguments or "{}", parse_constant=_refuse_constant))
    except (ValueError, RecursionError):
        raise _invalid(f"{where}.arguments", "it is not valid JSON.") from None
    if not isinstance(value, dict):
        raise _invalid(f"{where}.arguments", "it is not a JSON object.")
    return call.arguments or "{}"


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _text_parts(content: str | Sequence[TextPart]) -> tuple[str, ...]:
    return (content,) if isinstance(content, str) else tuple(part.text for part in content)


async def _load_part(part: Any, where: str, load: ImageLoader) -> Sequence[Part]:
    if isinstance(part, TextPart):
        return (part.text,)
    try:
        return await asyncio.to_thread(load, part.url)
    except PixtralError as error:
        raise from_image_error(error, f"{where}.image_url") from None
