"""Converts messages to and from the JSON of OpenAI's and Mistral's APIs, which requests and saved conversations share.

Input is checked strictly: every error names its field.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

from pixtral_cli import images
from pixtral_cli.chat import tool_rounds
from pixtral_cli.chat.message import Message, Part, Role
from pixtral_cli.chat.tools import ToolCall
from pixtral_cli.errors import UsageError
from pixtral_cli.images.image import Image

MAX_DEPTH = 64
ROLES: Mapping[str, Role] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
}  # fmt: skip
FIELDS = frozenset(
    {"role", "content", "name", "interrupted", "prefix", "reasoning_content", "tool_calls", "tool_call_id"}
)
MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "GIF": "image/gif", "WEBP": "image/webp"}
JSON_TYPES = {
    str: "a text", bool: "true or false", int: "a number", float: "a number", list: "an array", dict: "an object",
    type(None): "null",
}  # fmt: skip

# Loads an image, given its URL, the path of the JSON field it is in, and the object with the URL and its other fields.
Loader: TypeAlias = Callable[[str, str, Mapping[str, Any]], Image]


class FieldError(UsageError):
    """A field of a JSON document is invalid. `field` is its path, such as `messages[0].content`."""

    def __init__(self, field: str, why: str, hint: str = "") -> None:
        shown = field if len(field) <= 60 else f"{field[:59]}…"
        super().__init__(f"{shown}: {why}" if field else why, hint, field)


# From JSON


def parse(data: bytes | str) -> Any:
    """The value of a strict JSON text. Raises FieldError for invalid JSON or UTF-8, NaN, lone surrogates and deep nesting."""
    try:
        value = json.loads(data.decode("utf-8") if isinstance(data, bytes) else data, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise FieldError("", f"not valid UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise FieldError("", f"nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:  # json.JSONDecodeError, and numbers of more digits than Python converts
        why = f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else "a huge number"
        raise FieldError("", f"not valid JSON: {why}") from None
    _check_value(value, "", 0)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise FieldError("", f"not valid JSON: {name} is no number there")


def _check_value(value: object, field: str, depth: int) -> None:
    """Check the depth and the strings of a value and all below it."""
    if depth > MAX_DEPTH:
        raise FieldError("", f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        _check_text(value, field)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_value(item, f"{field}[{number}]", depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, field)
            _check_value(item, f"{field}.{key}" if field else key, depth + 1)


def _check_text(text: str, field: str) -> None:
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise FieldError(field, "holds a lone surrogate, which is no text")


def messages(value: object, field: str = "messages", *, load: Loader | None = None) -> list[Message]:
    """An array of messages; `load` is by default `loader()`. Raises FieldError, ImageError, NetworkError."""
    items = expect(value, list, field)
    if not items:
        raise FieldError(field, "is empty")
    return [message(item, f"{field}[{number}]", load or loader()) for number, item in enumerate(items)]


def joined(messages: Sequence[Message], field: str = "messages") -> list[Message]:
    """The messages with calls and their results in the answers. Raises FieldError for a result of a call that was not made."""
    try:
        return tool_rounds.joined(messages)
    except ValueError as error:
        place = f"{field}[{error.args[0]}].tool_call_id"
        raise FieldError(place, "is of no call before it that waits for a result") from None


def message(value: object, field: str, load: Loader) -> Message:
    """One message; `load` loads its images. Raises FieldError, ImageError, NetworkError."""
    item = expect(value, dict, field)
    name = expect(item.get("role"), str, f"{field}.role")
    if name not in ROLES:
        raise FieldError(f"{field}.role", f"is {name[:40]!r}, not one of {', '.join(ROLES)}")
    role = ROLES[name]
    content = item.get("content")
    if content is None and role == "assistant":
        content = ""
    interrupted = expect(item.get("interrupted", False), bool, f"{field}.interrupted")
    for key, value_of_key in item.items():
        if key not in FIELDS and value_of_key:
            raise FieldError(f"{field}.{key[:40]}", "is not supported")
    parts = _parse_parts(content, role, f"{field}.content", load)
    calls, call_id = _parse_tool_calls(item, role, field), _parse_call_id(item, role, field)
    tool_name = expect(item.get("name") or "", str, f"{field}.name") if role == "tool" else ""
    return Message(role, parts, interrupted, _parse_reasoning(item, role, field), calls, call_id, tool_name)


def _parse_tool_calls(item: Mapping[str, Any], role: Role, field: str) -> tuple[ToolCall, ...]:
    """The tool calls of an assistant's message."""
    field = f"{field}.tool_calls"
    items = expect(item.get("tool_calls") or [], list, field)
    if items and role != "assistant":
        raise FieldError(field, f"is in the message of the {role}; only an assistant calls tools")
    calls = tuple(_parse_tool_call(call, f"{field}[{number}]") for number, call in enumerate(items))
    if len({call.id for call in calls}) < len(calls):
        raise FieldError(field, "has two calls of one id")
    return calls


def _parse_tool_call(value: object, field: str) -> ToolCall:
    item = expect(value, dict, field)
    function = expect(item.get("function"), dict, f"{field}.function")
    arguments = function.get("arguments")
    if isinstance(arguments, dict):  # La Plateforme's
        arguments = json.dumps(arguments, ensure_ascii=False)
    return ToolCall(
        expect(item.get("id"), str, f"{field}.id"),
        expect(function.get("name"), str, f"{field}.function.name"),
        expect(arguments, str, f"{field}.function.arguments"),
    )


def _parse_call_id(item: Mapping[str, Any], role: Role, field: str) -> str:
    """The id of the call that a tool's message is the result of; "" for other roles."""
    field = f"{field}.tool_call_id"
    if role != "tool" and item.get("tool_call_id"):
        raise FieldError(field, f"is in the message of the {role}; only a tool answers a call")
    return expect(item.get("tool_call_id"), str, field) if role == "tool" else ""


def _parse_reasoning(item: Mapping[str, Any], role: Role, field: str) -> str:
    """The reasoning of an assistant's message; "" if it has none."""
    field = f"{field}.reasoning_content"
    text: str = expect(item.get("reasoning_content") or "", str, field)
    if text and role != "assistant":
        raise FieldError(field, f"is in the message of the {role}; only an assistant thinks")
    _check_text(text, field)
    return text


def _parse_parts(content: object, role: Role, field: str, load: Loader) -> tuple[Part, ...]:
    if isinstance(content, str):
        _check_text(content, field)
        return (content,)
    if not isinstance(content, list):
        raise FieldError(field, f"must be a text or an array of parts, not {_type_name(content)}")
    return tuple(_parse_part(item, role, f"{field}[{number}]", load) for number, item in enumerate(content)) or ("",)


def _parse_part(value: object, role: Role, field: str, load: Loader) -> Part:
    item = expect(value, dict, field)
    kind = expect(item.get("type"), str, f"{field}.type")
    if kind == "text":
        text: str = expect(item.get("text"), str, f"{field}.text")
        _check_text(text, f"{field}.text")
        return text
    if kind != "image_url":
        raise FieldError(f"{field}.type", f"is {kind[:40]!r}, not text or image_url")
    if role not in ("user", "tool"):
        raise FieldError(f"{field}.type", f"an image in the message of the {role}; only a user shows images")
    field = f"{field}.image_url"
    source = item.get("image_url")
    image_fields = source if isinstance(source, dict) else {}
    if image_fields:
        field = f"{field}.url"
        source = image_fields.get("url")
    return load(expect(source, str, field), field, image_fields)


def loader(*, allow_private: bool = False, allow_urls: bool = True, all_formats: bool = False) -> Loader:
    """A Loader for data URLs and, with `allow_urls`, http(s) URLs; never for files.

    `allow_private`: URLs may lead to private addresses. `all_formats`: rarely used image formats are decoded too.
    """

    def load(url: str, field: str, image_fields: Mapping[str, Any]) -> Image:
        scheme = url.partition(":")[0].lower()
        if scheme not in ("data", "http", "https"):
            raise FieldError(field, "must be a data:, http: or https: URL")
        if scheme != "data" and not allow_urls:
            raise FieldError(field, "must be a data: URL; this server fetches no others")
        return images.load(url, allow_private=allow_private, all_formats=all_formats)

    return load


def expect(value: object, kind: type, field: str) -> Any:
    """The value, if it is of the Python type `kind`. Raises FieldError otherwise."""
    if type(value) is not kind:
        raise FieldError(
            field, f"must be {JSON_TYPES[kind]}, not {_type_name(value)}" if value is not None else "is missing"
        )
    return value


def _type_name(value: object) -> str:
    return JSON_TYPES.get(type(value), "that")


# To JSON


def to_wire(
    messages: Sequence[Message], encode: Callable[[Image], Mapping[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """Messages as JSON objects. `encode` makes the `image_url` object of an image, by default one with a data URL."""
    return [_to_wire(message, encode or (lambda image: {"url": data_url(image)})) for message in messages]


def _to_wire(message: Message, encode: Callable[[Image], Mapping[str, Any]]) -> dict[str, Any]:
    about: dict[str, Any] = {"role": message.role}
    if message.role == "tool":
        about |= {"tool_call_id": message.tool_call_id, "name": message.name}
    if not message.images:
        if message.reasoning:
            about["reasoning_content"] = message.reasoning
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
        return {**about, "content": message.text, **({"tool_calls": calls} if calls else {})}
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image_url", "image_url": encode(part)}
        for part in message.parts
        if part
    ]
    return {**about, "content": content}


def data_url(image: Image) -> str:
    """A data URL of the image, in a format that browsers show: see `encode_image`."""
    media, data = encode_image(image)
    return f"data:{media};base64,{base64.b64encode(data).decode('ascii')}"


def encode_image(image: Image) -> tuple[str, bytes]:
    """Media type and bytes: the original file if it is not cropped or rotated and in a format of MEDIA_TYPES, else a PNG."""
    if not image.transform and image.format in MEDIA_TYPES:
        return MEDIA_TYPES[image.format], image.data
    import io

    buffer = io.BytesIO()
    image.pixels().save(buffer, "PNG")
    return "image/png", buffer.getvalue()
