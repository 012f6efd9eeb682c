"""What goes wrong, as HTTP says it: a status and OpenAI's error object. Leaves the words to whoever raised the error."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pixtral_cli.api.errors import API_ERRORS, INVALID, SERVER, known_class
from pixtral_cli.errors import ModelError, NetworkError, PixtralError


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

COMMANDS = re.compile(r"--|`|pixtral")  # hints for who types commands, not for who sends requests

UNTOLD = {ModelError: "The model cannot answer.", PixtralError: "The server cannot answer."}


def of_engine(error: PixtralError, *, trusted: bool) -> Fault:
    """The fault an engine's error is. Errors that may name files of this machine are told in full to its owner only."""
    found = known_class(error)
    status, type_, code = API_ERRORS[found]
    message = error.message if trusted or found not in UNTOLD else UNTOLD[found]
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
