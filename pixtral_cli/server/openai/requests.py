"""Parses the body of a request and converts it to messages and sampling for the engine."""

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
# Types of parts that are not supported, and what to send instead.
UNSUPPORTED_PARTS = {
    "document_url": "Send the document's pages as images (image_url).",
    "file": "Send the file's pages as images (image_url).",
    "input_audio": "Send text and images.",
    "video_url": "Send its frames as images (image_url).",
}
MAX_LOGGED = 500
_logged: set[str] = set()  # fields without effect that were logged already
log = logging.getLogger("pixtral.server")

M = TypeVar("M", bound=BaseModel)
# Where the usage is in a stream: in a chunk of its own, which OpenAI's clients ask for, in the last chunk, or nowhere.
UsagePosition: TypeAlias = Literal["apart", "last", "nowhere"]


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """The messages and sampling for the engine, and how the reply is sent. `usage`: see `UsagePosition`."""

    messages: tuple[Message, ...]
    sampling: Sampling
    stream: bool
    usage: UsagePosition = "nowhere"  # in a stream


def parse_request(body: bytes | bytearray) -> ChatRequest:
    """The chat completion request in a body. Raises ApiError 400, naming the field."""
    return parse_body(ChatRequest, body, NO_EFFECT)


def parse_body(model: type[M], body: bytes | bytearray, no_effect: Collection[str] = ()) -> M:
    """The request in a body; fields in `no_effect` and unknown ones are logged. Raises ApiError 400, naming the field."""
    try:
        request = model.model_validate_json(body)
    except ValidationError as error:
        raise validation_error(error, body) from None
    log_no_effect(request.model_fields_set & {*no_effect, *(request.model_extra or ())})
    return request


def log_no_effect(fields: Collection[str]) -> None:
    """Log fields that are accepted and have no effect, each once and at most MAX_LOGGED in all."""
    if (new := set(fields) - _logged) and len(_logged) < MAX_LOGGED:
        _logged.update(new)
        log.warning("Fields without effect here: %s", visible(", ".join(sorted(new)), 400))


def validation_error(error: ValidationError, body: Any) -> ApiError:
    """The reply for an invalid request (JSON text, or its value): of several errors, the one deepest in it."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    if details[0]["type"] == "json_invalid":
        why = details[0]["msg"].removeprefix("Invalid JSON: ")
        return ApiError(400, _shorten(f"The body is not valid JSON: {why}"), code="invalid_json")
    request = from_json(body) if isinstance(body, bytes | bytearray) else body
    errors = [(_field_path(detail["loc"], request, detail["type"]), detail) for detail in details]
    param, detail = max(errors, key=lambda located: len(located[0]))  # of a union's errors, the deepest
    name = ".".join(map(str, param))
    if detail["type"] == "extra_forbidden":
        return ApiError(
            400, _shorten(f"Unrecognized request argument: {name}"), param=_shorten(name), code="unknown_parameter"
        )
    if detail["type"] == "union_tag_invalid" and (kind := _part_type(request, param)) in UNSUPPORTED_PARTS:
        why = f"{name}: {kind} is not read here. {UNSUPPORTED_PARTS[kind]}"
        return ApiError(400, _shorten(why), param=_shorten(name), code="unsupported_content")
    why = detail["msg"][:1].lower() + detail["msg"][1:]
    return ApiError(
        400,
        _shorten(f"Invalid value for {name or 'the body'}: {why}"),
        param=_shorten(name) or None,
        code="invalid_value",
    )


def _part_type(value: Any, path: Sequence[int | str]) -> str:
    """The value of `type` in the part of a message at a path; "" without one."""
    for step in path:
        value = value[step]
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else ""


def _field_path(location: Sequence[int | str], value: Any, kind: str) -> tuple[int | str, ...]:
    """The path of a field: pydantic's location of an error without the names of union branches."""
    path: list[int | str] = []
    for position, step in enumerate(location):
        last = position == len(location) - 1
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
    """Load the images, check the schema and determine the sampling. Raises ApiError 400 or 503.

    `trusted`: the client has checked the schemas already.
    """
    sampling = replace(request_sampling(request, defaults), **await request_tools(request, trusted=trusted))
    messages = await conversation(request, load)
    options = request.stream_options
    usage: UsagePosition = "apart" if options and options.include_usage else "nowhere"
    schema = await response_schema(request.response_format, trusted=trusted)
    return EngineRequest(messages, replace(sampling, schema=schema), bool(request.stream), usage)


def make_image_loader(*, urls: bool, allow_private: bool = False, all_formats: bool = False) -> ImageLoader:
    """A loader for data URLs and, with `urls`, http(s) URLs; never for files.

    Images of data URLs are cached by the hash of the URL, since clients send all images again with every turn.
    `all_formats`: rarely used formats are decoded too, and a PDF is its pages.
    """

    checked: LruCache[bytes, Sequence[Image]] = LruCache(IMAGE_CACHE_BYTES)

    def load(source: str) -> Sequence[Image]:
        from pixtral_cli import images

        scheme = source.split(":", 1)[0].lower() if ":" in source[:16] else ""
        if scheme == "data":
            key = hashlib.sha256(source.encode()).digest()
            cached = checked.get(key)
            if cached is None:
                cached = images.load_all(source, all_formats=all_formats)
                checked.put(key, cached, sum(len(image.data) for image in cached))
            return cached
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
