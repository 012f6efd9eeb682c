"""Turns the body of a request into messages and sampling, or an ApiError that names the field."""

import hashlib
import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.errors import ImageError, UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.openai.conversation import ImageLoader, conversation
from pixtral_cli.server.openai.request_schema import ChatRequest
from pixtral_cli.server.openai.response_schema import response_schema
from pixtral_cli.server.openai.sampling import request_sampling
from pixtral_cli.server.openai.tools import request_tools
from pixtral_cli.util.lru import LruCache
from pixtral_cli.util.sanitize import visible

BARE_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{64,}={0,2}\s*")
IMAGE_CACHE_BYTES = 128_000_000  # bytes of images

NO_EFFECT = frozenset(
    {"cache_control", "metadata", "prompt_cache_key", "prompt_cache_retention", "prompt_mode", "reasoning_effort",
     "safety_identifier", "service_tier", "store", "user", "verbosity"}
)  # fmt: skip
# What other servers' clients send, and what to do about it.
UNREADABLE = {
    "document_url": "Send the document's pages as images (image_url).",
    "file": "Send the file's pages as images (image_url).",
    "input_audio": "Send text and images.",
    "video_url": "Send its frames as images (image_url).",
}
MAX_LOGGED = 500
_logged: set[str] = set()  # fields that the log has named already
log = logging.getLogger("pixtral.server")

M = TypeVar("M", bound=BaseModel)
# Of the usage in a stream: in a chunk of its own, which OpenAI's clients ask for, in the last chunk, or left out.
UsagePlace: TypeAlias = Literal["apart", "last", "nowhere"]


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """A request to the engine, and how its reply is sent."""

    messages: tuple[Message, ...]
    sampling: Sampling
    stream: bool
    usage: UsagePlace = "nowhere"  # in a stream


def parse_request(body: bytes | bytearray) -> ChatRequest:
    """Raises ApiError 400, naming the field, for a body that is not a chat completion request."""
    return parse_body(ChatRequest, body, NO_EFFECT)


def parse_body(model: type[M], body: bytes | bytearray, no_effect: Collection[str] = ()) -> M:
    """The request in a body; fields of `no_effect` are logged once. Raises ApiError 400, naming the field."""
    try:
        request = model.model_validate_json(body)
    except ValidationError as error:
        raise validation_error(error, body) from None
    log_no_effect(request.model_fields_set & {*no_effect, *(request.model_extra or ())})
    return request


def log_no_effect(fields: Collection[str]) -> None:
    """Name fields that are taken and change nothing in the log, each once, and not without end."""
    if (new := set(fields) - _logged) and len(_logged) < MAX_LOGGED:
        _logged.update(new)
        log.warning("Fields without effect here: %s", visible(", ".join(sorted(new)), 400))


def validation_error(error: ValidationError, body: Any) -> ApiError:
    """The reply for a request, its JSON or its value, that is not what it must be: of several faults, the deepest."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    if details[0]["type"] == "json_invalid":
        why = details[0]["msg"].removeprefix("Invalid JSON: ")
        return ApiError(400, _shorten(f"The body is not valid JSON: {why}"), code="invalid_json")
    request = from_json(body) if isinstance(body, bytes | bytearray) else body
    located = [(_field_path(detail["loc"], request, detail["type"]), detail) for detail in details]
    param, detail = max(located, key=lambda one: len(one[0]))  # of a union's errors, the deepest
    name = ".".join(map(str, param))
    if detail["type"] == "extra_forbidden":
        return ApiError(
            400, _shorten(f"Unrecognized request argument: {name}"), param=_shorten(name), code="unknown_parameter"
        )
    if detail["type"] == "union_tag_invalid" and (kind := _tag(request, param)) in UNREADABLE:
        why = f"{name}: {kind} is not read here. {UNREADABLE[kind]}"
        return ApiError(400, _shorten(why), param=_shorten(name), code="unsupported_content")
    why = detail["msg"][:1].lower() + detail["msg"][1:]
    return ApiError(
        400,
        _shorten(f"Invalid value for {name or 'the body'}: {why}"),
        param=_shorten(name) or None,
        code="invalid_value",
    )


def _tag(value: Any, path: Sequence[int | str]) -> str:
    """The type of the part of a message at a path."""
    for step in path:
        value = value[step]
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else ""


def _field_path(location: Sequence[int | str], value: Any, kind: str) -> tuple[int | str, ...]:
    """The location without pydantic's names of union branches."""
    path: list[int | str] = []
    for place, step in enumerate(location):
        last = place == len(location) - 1
        if isinstance(value, dict) and (step in value or (last and kind == "missing")):
            path.append(step)
            value = value.get(str(step))
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            path.append(step)
            value = value[step]
    return tuple(path)


def _shorten(text: str) -> str:
    return text if len(text) <= 300 else text[:299] + "…"


async def build_engine_request(
    request: ChatRequest, defaults: Sampling, load: ImageLoader, *, trusted: bool = False
) -> EngineRequest:
    """Fetch and check the images and the schema, and choose the sampling. Raises ApiError 400 or 503.

    `trusted`: the client has checked the schema already.
    """
    sampling = replace(request_sampling(request, defaults), **await request_tools(request, trusted=trusted))
    messages = await conversation(request, load)
    options = request.stream_options
    usage: UsagePlace = "apart" if options and options.include_usage else "nowhere"
    schema = await response_schema(request.response_format, trusted=trusted)
    return EngineRequest(messages, replace(sampling, schema=schema), bool(request.stream), usage)


def make_image_loader(*, urls: bool, allow_private: bool = False, all_formats: bool = False) -> ImageLoader:
    """Loads an image of a request: a data URL, an http(s) URL when `urls`, never a file of this machine.

    Clients send every image again with every turn: data URLs that were checked lately are not checked again. With all
    formats, a PDF is its pages.
    """

    checked: LruCache[bytes, Sequence[Image]] = LruCache(IMAGE_CACHE_BYTES)

    def load(source: str) -> Sequence[Image]:
        from pixtral_cli import images

        scheme = source.split(":", 1)[0].lower() if ":" in source[:16] else ""
        if scheme == "data":
            key = hashlib.sha256(source.encode()).digest()
            found = checked.get(key)
            if found is None:
                found = images.load_all(source, all_formats=all_formats)
                checked.put(key, found, sum(len(image.data) for image in found))
            return found
        if scheme not in ("http", "https"):
            if BARE_BASE64.fullmatch(source[:1000]):
                raise ImageError("image_url is base64 without its beginning", "Put data:image/png;base64, before it.")
            raise ImageError(
                "image_url must be an http(s) URL or a data URL", "A file's content: data:image/png;base64,…"
            )
        if not urls:
            raise UsageError(
                "This server takes images by data URL only", "Send the picture itself: data:image/png;base64,…"
            )
        return images.load_all(source, allow_private=allow_private, all_formats=all_formats)

    return load
