"""The messages of a request as the engine's, with their images fetched and the order of tool calls and results checked."""

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
MAX_PIXELS = 512_000_000  # of all images of a request together
SECONDS_FOR_IMAGES = 60
# Published in La Plateforme's documentation of `safe_prompt`.
SAFE_PROMPT = (
    "Always assist with care, respect, and truth. Respond with utmost utility yet securely. Avoid harmful, unethical, "
    "prejudiced, or negative content. Ensure replies promote fairness and positivity."
)

ImageLoader: TypeAlias = Callable[[str], Sequence[Image]]  # of a URL; several are the pages of a document


async def conversation(request: ChatRequest, load: ImageLoader) -> tuple[Message, ...]:
    """The messages, with their images. Raises ApiError 400, naming the field."""
    _check_last(request)
    _check_images(request.messages)
    calls = _check_calls(request.messages)
    try:
        async with asyncio.timeout(SECONDS_FOR_IMAGES) as limit:
            limited = _with_pixel_limit(load)
            messages = await _messages(request.messages, limited, calls)
    except TimeoutError:
        if not limit.expired():
            raise
        raise ApiError(400, "The images took too long to fetch.", param="messages", code="image_unreachable") from None
    return (system(SAFE_PROMPT), *messages) if request.safe_prompt else tuple(messages)


def _invalid(param: str, why: str) -> ApiError:
    return ApiError(400, f"{param}: {why}", param=param, code="invalid_value")


def _check_last(request: ChatRequest) -> None:
    """The conversation ends with a question, a tool's result, or an answer to be continued as text."""
    *before, last = request.messages
    place = len(before)
    for number, message in enumerate(before):
        if isinstance(message, AssistantMessage) and message.prefix:
            raise _invalid(f"messages.{number}.prefix", "only the last message can be continued.")
    if isinstance(last, UserMessage | ToolMessage):
        return
    if not isinstance(last, AssistantMessage) or not last.prefix:
        raise _invalid(
            f"messages.{place}.role",
            "the last message must be the user's, a tool's result, or the assistant's with prefix.",
        )
    prefix = f"messages.{place}.prefix"
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
    """Every result belongs to a call of the answer before it, and every call has its result before the next answer.

    Returns the ids and the tools' names of the calls whose results the messages are, by the places of these.
    """
    calls: dict[int, tuple[str, str]] = {}
    waiting: dict[str, str] = {}
    calling = 0
    for place, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            calls[place] = _answered_call(message, place, waiting)
            del waiting[calls[place][0]]
        elif isinstance(message, AssistantMessage | UserMessage) and waiting:
            missing = next(iter(waiting))
            raise _invalid(f"messages.{calling}.tool_calls", f"the call {missing[:60]!r} has no result.")
        if isinstance(message, AssistantMessage):
            calling = place
            for number, call in enumerate(message.tool_calls or ()):
                if call.id in waiting:
                    raise _invalid(f"messages.{place}.tool_calls.{number}.id", "two calls have this id.")
                waiting[call.id] = call.function.name
    if waiting:
        raise _invalid(f"messages.{calling}.tool_calls", f"the call {next(iter(waiting))[:60]!r} has no result.")
    return calls


def _answered_call(message: ToolMessage, place: int, waiting: Mapping[str, str]) -> tuple[str, str]:
    """Id and name of the call whose result a message is. `waiting`: names of the calls that have none, by their ids."""
    if (key := message.tool_call_id) is not None:
        if key not in waiting:
            raise _invalid(f"messages.{place}.tool_call_id", "it is the id of no call that waits for its result.")
        return key, waiting[key]
    for key, name in waiting.items():
        if message.name in (None, name):
            return key, name
    raise _invalid(f"messages.{place}.tool_call_id", "it is missing, and no call waits for this result.")


def _with_pixel_limit(load: ImageLoader) -> ImageLoader:
    """The loader for one request, which refuses an image that brings its pixels above the limit."""
    pixels = count = 0

    def load_counted(source: str) -> Sequence[Image]:
        nonlocal pixels, count
        found = load(source)
        pixels += sum(image.width * image.height for image in found)
        count += len(found)
        if count > MAX_IMAGES:
            raise ImageError(
                f"The request has more than {MAX_IMAGES} images, pages of documents included", "Send fewer."
            )
        if pixels > MAX_PIXELS:
            raise ImageError(
                f"The images have more than {MAX_PIXELS // 10**6} million pixels in all", "Scale them down."
            )
        return found

    return load_counted


async def _messages(
    given: Sequence[RequestMessage], load: ImageLoader, calls: Mapping[int, tuple[str, str]]
) -> list[Message]:
    """The messages; images of the results of calls come before the question that follows the results, or as one."""
    messages: list[Message] = []
    shown: list[Part] = []  # images of results that no question has shown yet
    for place, message in enumerate(given):
        where = f"messages.{place}"
        if isinstance(message, ToolMessage):
            parts = await _content(message.content or "", where, load)
            texts = tuple(part for part in parts if isinstance(part, str))
            shown += [part for part in parts if not isinstance(part, str)]
            messages.append(Message("tool", texts or ("",), tool_call_id=calls[place][0], name=calls[place][1]))
            continue
        read = await _message(message, where, load)
        if shown and read.role != "system":
            if read.role == "user":
                read = replace(read, parts=(*shown, *read.parts))
            else:
                messages.append(Message("user", tuple(shown)))
            shown = []
        messages.append(read)
    return [*messages, Message("user", tuple(shown))] if shown else messages


async def _message(message: SystemMessage | AssistantMessage | UserMessage, where: str, load: ImageLoader) -> Message:
    match message:
        case SystemMessage():
            return Message("system", _texts(message.content))
        case AssistantMessage():
            return _answer(message, where)
        case UserMessage():
            return Message("user", await _content(message.content, where, load))


async def _content(content: str | Sequence[TextPart | ImagePart], where: str, load: ImageLoader) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (content,)
    parts = [await _parts(part, f"{where}.content.{place}", load) for place, part in enumerate(content)]
    return tuple(itertools.chain.from_iterable(parts))


def _answer(message: AssistantMessage, where: str) -> Message:
    thought = message.reasoning_content or message.reasoning or ""
    if isinstance(message.content, list):
        thought += "".join(part.text for part in message.content if isinstance(part, ThinkingPart))
    calls = tuple(
        tools.ToolCall(call.id, call.function.name, _arguments(call.function, f"{where}.tool_calls.{number}.function"))
        for number, call in enumerate(message.tool_calls or ())
    )
    return Message(
        "assistant", (_answer_text(message),), reasoning=thought, tool_calls=calls, prefix=bool(message.prefix)
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
    """The arguments as JSON text. Raises ApiError for what is no JSON object."""
    if isinstance(call.arguments, dict):
        return json.dumps(call.arguments, ensure_ascii=False)
    try:
        value = check_value(json.loads(call.arguments or "{}", parse_constant=_no_constant))
    except (ValueError, RecursionError):
        raise _invalid(f"{where}.arguments", "it is not valid JSON.") from None
    if not isinstance(value, dict):
        raise _invalid(f"{where}.arguments", "it is not a JSON object.")
    return call.arguments or "{}"


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _texts(content: str | Sequence[TextPart]) -> tuple[str, ...]:
    return (content,) if isinstance(content, str) else tuple(part.text for part in content)


async def _parts(part: Any, where: str, load: ImageLoader) -> Sequence[Part]:
    if isinstance(part, TextPart):
        return (part.text,)
    try:
        return await asyncio.to_thread(load, part.url)
    except PixtralError as error:
        raise from_image_error(error, f"{where}.image_url") from None
