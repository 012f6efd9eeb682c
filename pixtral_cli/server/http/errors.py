"""What goes wrong, as HTTP says it: a status and OpenAI's error object. Leaves the words to whoever raised the error."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pixtral_cli.api.errors import API_ERRORS, INVALID, SERVER, known_class
from pixtral_cli.errors import ModelError, NetworkError, PixtralError


@dataclass(eq=False)
class ApiError(Exception):
    """An answer that is an error. `param` names the field of the request it is about."""

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


INTERNAL_ERROR = ApiError(500, "The server failed.", SERVER, code="internal_error")  # by an error of our own

CLI_HINT = re.compile(r"--|`|pixtral")  # hints for who types commands, not for who sends requests

PUBLIC_MESSAGES = {ModelError: "The model cannot answer.", PixtralError: "The server cannot answer."}


def from_engine_error(error: PixtralError, *, trusted: bool) -> ApiError:
    """The fault an engine's error is. Errors that may name files of this machine are told in full to its owner only."""
    found = known_class(error)
    status, type_, code = API_ERRORS[found]
    message = error.message if trusted or found not in PUBLIC_MESSAGES else PUBLIC_MESSAGES[found]
    retry = {"Retry-After": "5"} if status == 503 else {}
    return ApiError(status, message, type_, code=code, headers=retry, hint=error.hint if trusted else "")


def from_image_error(error: PixtralError, param: str) -> ApiError:
    """An image of the request that cannot be had or read."""
    code = "image_unreachable" if isinstance(error, NetworkError) else "invalid_image"
    hint = "" if CLI_HINT.search(error.hint) else f" {error.hint}"
    return ApiError(400, f"{error.message.rstrip('.')}.{hint}".rstrip(), param=param, code=code)


def queue_full(seconds: int) -> ApiError:
    """The queue is full; `seconds` is a fair time to come again."""
    headers = {"Retry-After": str(seconds)}
    return ApiError(503, "The server is busy: its queue is full.", SERVER, code="queue_full", headers=headers)
