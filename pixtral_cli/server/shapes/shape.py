"""What the application asks of an API's shape: a request as a chat completion request, and a reply that is written from chunks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from pydantic import ValidationError

from pixtral_cli.chat.engine import Chunk
from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.http.streaming import Framing
from pixtral_cli.server.openai.replies import ReplyBuilder
from pixtral_cli.server.openai.request_schema import ChatRequest
from pixtral_cli.server.openai.requests import EngineRequest, parse_request, validation_error


class Reply(Protocol):
    """Writes one answer."""

    framing: Framing

    def whole(self, chunks: Sequence[Chunk]) -> dict[str, Any]:
        """The answer as one object."""
        ...

    def begin(self) -> Iterable[dict[str, Any]]:
        """What a stream begins with."""
        ...

    def piece(self, chunk: Chunk) -> Iterable[dict[str, Any]]:
        """What is sent for a chunk; for the last one all that ends the stream."""
        ...

    def error(self, error: ApiError) -> Iterable[dict[str, Any]]:
        """What a stream ends with that breaks off."""
        ...


# Makes the reply from the model's name, what the engine is asked and the prompt's tokens (0 unless `measured`).
ReplyMaker: TypeAlias = Callable[[str, EngineRequest, int], Reply]


@dataclass(frozen=True, slots=True)
class ShapedRequest:
    """A request in the form of a chat completion request.

    `fields` maps the path of a field of `chat`
    to the path of the field that it was made of. `measured`: the prompt's tokens are counted ahead of the answer.
    `more` are answered after `chat`, their chunks numbered on. `unasked` makes the reply to a request that asks nothing, which goes to no engine.
    """

    chat: ChatRequest
    reply: ReplyMaker
    fields: Mapping[str, str] = field(default_factory=dict)
    measured: bool = False
    more: tuple[ChatRequest, ...] = ()
    unasked: Callable[[], dict[str, Any]] | None = None

    def renamed(self, error: ApiError) -> ApiError:
        """The error, about a field of the request as it was sent."""
        return with_field_names(error, self.fields)


# Parses a request's body; raises ApiError that names the field.
Shape: TypeAlias = Callable[[bytearray], ShapedRequest]


def chat_completions(body: bytearray) -> ShapedRequest:
    """The shape of `/v1/chat/completions`: nothing is translated."""
    return ShapedRequest(parse_request(body), lambda model, request, _: ReplyBuilder(model, usage=request.usage))


def chat_request(value: dict[str, Any], fields: Mapping[str, str]) -> ChatRequest:
    """The chat completion request of this JSON; None is a field that was not given. Raises ApiError 400."""
    given = {name: one for name, one in value.items() if one is not None}
    try:
        return ChatRequest.model_validate(given)
    except ValidationError as error:
        raise with_field_names(validation_error(error, given), fields) from None


def with_field_names(error: ApiError, fields: Mapping[str, str]) -> ApiError:
    """The error with its field's path, in `param` and in the message, replaced by the longest prefix in `fields`."""
    path = (error.param or "").split(".")
    for end in range(len(path), 0, -1):
        before = ".".join(path[:end])
        if before in fields:
            param = ".".join(part for part in (fields[before], *path[end:]) if part)
            message = error.message.replace(error.param or "", param)
            return ApiError(error.status, message, error.kind, param, error.code, error.headers, error.hint)
    return error
