"""HTTP error replies: a status and OpenAI's error object."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pixtral_cli.api.errors import API_ERRORS, INVALID, SERVER, known_class
from pixtral_cli.errors import ModelError, NetworkError, PixtralError, UsageError


@dataclass(eq=False)
class ApiError(Exception):
    """An error reply. `param` is the path of the field of the request that is invalid."""

    status: int
    message: str
    kind: str = INVALID
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    hint: str = ""

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's error object."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error | ({"hint": self.hint} if self.hint else {})}


INTERNAL_ERROR = ApiError(500, "The server failed.", SERVER, code="internal_error")  # a bug in pixtral

CLI_HINT = re.compile(r"--|`|pixtral")  # matches hints about the command line, which mean nothing to an API client

PUBLIC_MESSAGES = {ModelError: "The model cannot answer.", PixtralError: "The server cannot answer."}


def from_engine_error(error: PixtralError, *, trusted: bool) -> ApiError:
    """The reply for an engine's error. Messages that may name files of this machine are sent to `trusted` clients only."""
    kind = known_class(error)
    status, type_, code = API_ERRORS[kind]
    message = error.message if trusted or kind not in PUBLIC_MESSAGES else PUBLIC_MESSAGES[kind]
    retry = {"Retry-After": "5"} if status == 503 else {}
    param = error.field or None if isinstance(error, UsageError) else None
    return ApiError(status, message, type_, param, code, retry, error.hint if trusted else "")


def from_image_error(error: PixtralError, param: str) -> ApiError:
    """The reply for an error while an image of the request is fetched or read."""
    code = "image_unreachable" if isinstance(error, NetworkError) else "invalid_image"
    hint = "" if CLI_HINT.search(error.hint) else f" {error.hint}"
    if "--allow-private" in error.hint:
        hint = " Whoever runs this server can allow it; a data URL needs no leave."
    return ApiError(400, f"{error.message.rstrip('.')}.{hint}".rstrip(), param=param, code=code)


def queue_full(seconds: int) -> ApiError:
    """The reply of a full queue, with `seconds` as Retry-After."""
    headers = {"Retry-After": str(seconds)}
    return ApiError(503, "The server is busy: its queue is full.", SERVER, code="queue_full", headers=headers)
