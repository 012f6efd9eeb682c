"""What goes wrong, as HTTP says it: a status and OpenAI's error object. Leaves the words to whoever raised the error."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pixtral_cli.errors import ContextError, ImageError, ModelError, NetworkError, OutOfMemory, PixtralError, UsageError

INVALID = "invalid_request_error"
SERVER = "server_error"


@dataclass(eq=False)
class Fault(Exception):
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


BROKEN = Fault(500, "The server failed.", SERVER, code="internal_error")  # by an error of our own

# The engine's errors: status, type and code. Those with no code of their own are looked up by their base.
KINDS: dict[type[PixtralError], tuple[int, str, str]] = {
    UsageError: (400, INVALID, "invalid_request"),
    ImageError: (400, INVALID, "invalid_image"),
    ContextError: (400, INVALID, "context_length_exceeded"),
    OutOfMemory: (500, SERVER, "out_of_memory"),
    ModelError: (500, SERVER, "model_error"),
    NetworkError: (503, SERVER, "engine_unavailable"),
    PixtralError: (500, SERVER, "internal_error"),
}
COMMANDS = re.compile(r"--|`|pixtral")  # hints for who types commands, not for who sends requests

UNTOLD = {ModelError: "The model cannot answer.", PixtralError: "The server cannot answer."}


def of_engine(error: PixtralError, *, trusted: bool) -> Fault:
    """The fault an engine's error is. Errors that may name files of this machine are told in full to its owner only."""
    kind = next(kind for kind in type(error).__mro__ if kind in KINDS)
    status, type_, code = KINDS[kind]
    message = error.message if trusted or kind not in UNTOLD else UNTOLD[kind]
    retry = {"Retry-After": "5"} if status == 503 else {}
    return Fault(status, message, type_, code=code, headers=retry, hint=error.hint if trusted else "")


def of_image(error: PixtralError, param: str) -> Fault:
    """An image of the request that cannot be had or read."""
    code = "image_unreachable" if isinstance(error, NetworkError) else "invalid_image"
    hint = "" if COMMANDS.search(error.hint) else f" {error.hint}"
    return Fault(400, f"{error.message.rstrip('.')}.{hint}".rstrip(), param=param, code=code)


def busy(seconds: int) -> Fault:
    """The queue is full; `seconds` is a fair time to come again."""
    headers = {"Retry-After": str(seconds)}
    return Fault(503, "The server is busy: its queue is full.", SERVER, code="queue_full", headers=headers)
