"""The interface of an API's shape: a parser to a chat completion request, and a writer of replies from chunks."""

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
    """Writes the JSON objects of one reply."""

    framing: Framing

    def whole(self, chunks: Sequence[Chunk]) -> dict[str, Any]:
        """The complete reply as one object."""
        ...

    def begin(self) -> Iterable[dict[str, Any]]:
        """The objects that a stream begins with."""
        ...

    def piece(self, chunk: Chunk) -> Iterable[dict[str, Any]]:
        """The objects for a chunk; for the last chunk also those that end the stream."""
        ...

    def error(self, error: ApiError) -> Iterable[dict[str, Any]]:
        """The objects that end a stream after an error."""
        ...


# Makes the writer of a reply from the model's name, the engine's request and the prompt's tokens (0 unless `counts_prompt`).
ReplyMaker: TypeAlias = Callable[[str, EngineRequest, int], Reply]


@dataclass(frozen=True, slots=True)
class ShapedRequest:
    """A request of any API, translated to a chat completion request.

    `fields` maps paths of fields of `chat` to the paths of the fields in the request as it was sent. `counts_prompt`: the
    reply needs the prompt's tokens before the answer. `more` are requests whose answers follow in the same reply.
    `fixed_reply` makes the reply to a request without a question, which needs no engine.
    """

    chat: ChatRequest
    reply: ReplyMaker
    fields: Mapping[str, str] = field(default_factory=dict)
    counts_prompt: bool = False
    more: tuple[ChatRequest, ...] = ()
    fixed_reply: Callable[[], dict[str, Any]] | None = None

    def with_sent_field(self, error: ApiError) -> ApiError:
        """The error with the path of its field in the request as it was sent."""
        return with_field_names(error, self.fields)


# Parses a request's body; raises ApiError that names the field.
Shape: TypeAlias = Callable[[bytearray], ShapedRequest]


def chat_completions(body: bytearray) -> ShapedRequest:
    """The shape of `/v1/chat/completions`, which needs no translation."""
    return ShapedRequest(parse_request(body), lambda model, request, _: ReplyBuilder(model, usage=request.usage))


def chat_request(value: dict[str, Any], fields: Mapping[str, str]) -> ChatRequest:
    """The chat completion request with these fields, without those that are None. Raises ApiError 400."""
    present = {name: item for name, item in value.items() if item is not None}
    try:
        return ChatRequest.model_validate(present)
    except ValidationError as error:
        raise with_field_names(validation_error(error, present), fields) from None


def with_field_names(error: ApiError, fields: Mapping[str, str]) -> ApiError:
    """The error with the longest prefix of its field's path that is in `fields` replaced, in `param` and the message."""
    path = (error.param or "").split(".")
    for end in range(len(path), 0, -1):
        prefix = ".".join(path[:end])
        if prefix in fields:
            param = ".".join(part for part in (fields[prefix], *path[end:]) if part)
            message = error.message.replace(error.param or "", param)
            return ApiError(error.status, message, error.kind, param, error.code, error.headers, error.hint)
    return error
