"""The address of an API, and its error replies as `PixtralError`s."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pixtral_cli.api.errors import API_ERRORS, UNREACHABLE
from pixtral_cli.config.formats import check_base_url
from pixtral_cli.errors import ContextError, ImageError, ModelError, NetworkError, PixtralError, UsageError

# The error for the code of a reply. Invalid requests and unreachable servers are recognised by the status instead.
ERROR_CODES: dict[str, type[PixtralError]] = {
    code: kind for kind, (_, _, code) in API_ERRORS.items() if kind not in (UsageError, NetworkError)
} | {UNREACHABLE[2]: ImageError}


ENDPOINTS = ("/chat/completions", "/completions", "/responses", "/messages")  # each below a base URL


@dataclass(frozen=True)
class Endpoint:
    """The address of an API and its key. With `socket` it is reached through that Unix socket.

    `program`: the name of the server in messages, when it is not pixtral. `started_by_us`: this process has started it,
    possibly on another machine of a private network.
    """

    base_url: str
    key: str | None = field(default=None, repr=False)
    socket: Path | None = None
    program: str = ""
    started_by_us: bool = False

    @property
    def root(self) -> str:
        """The URL above `/v1`."""
        return self.base_url.removesuffix("/v1")

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""

    @property
    def name(self) -> str:
        """The name of the server in messages."""
        return self.program or ("The resident process" if self.socket else self.host)

    @property
    def is_local(self) -> bool:
        """Whether the server runs on this machine, or was started by this process on another one."""
        return self.socket is not None or self.started_by_us or self.host in ("localhost", "127.0.0.1", "::1")

    @property
    def is_secure(self) -> bool:
        """Whether requests are encrypted."""
        return self.base_url.startswith("https://")

    @property
    def is_la_plateforme(self) -> bool:
        """Whether the server is La Plateforme."""
        return self.host == "mistral.ai" or self.host.endswith(".mistral.ai")


def parse_endpoint(base_url: str, key: str | None = None) -> Endpoint:
    """The endpoint of a URL; `/v1` is added where there is no path. Raises UsageError for anything but an http(s) URL."""
    check_base_url(base_url, "--base-url")
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/") or "/v1"
    if above := next((path.removesuffix(end) for end in ENDPOINTS if path.endswith(end)), ""):
        end = path.removeprefix(above)
        raise UsageError(f"--base-url ends before {end}", f"Give {parts.scheme}://{parts.netloc}{above}")
    return Endpoint(f"{parts.scheme}://{parts.netloc}{path}", key)


class Unreachable(NetworkError):
    """No connection could be made."""


class NotListening(Unreachable):
    """The connection was refused: no process listens there."""


class Refused(NetworkError):
    """The server needs an API key, or another one."""


class ServerQueueFull(NetworkError):
    """The server's queue is full. `retry_after`: seconds until the next attempt."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message, "Try again later")
        self.retry_after = retry_after


LOGIN_HINT = "Store one: pixtral login; or set MISTRAL_API_KEY (for another server, PIXTRAL_API_KEY)"


@dataclass(frozen=True)
class ErrorDetails:
    """The parts of an error reply. `param`: the field of the request that it is about."""

    message: str = ""
    code: str = ""
    hint: str = ""
    param: str = ""


def error_details(error: Any) -> ErrorDetails:
    """The details of an error object in the form of OpenAI, La Plateforme or FastAPI."""
    if isinstance(error, str):
        return ErrorDetails(error)
    if not isinstance(error, dict):
        return ErrorDetails()
    inner = error.get("error", error.get("detail", error.get("message")))
    if isinstance(inner, list) and inner and isinstance(inner[0], dict):
        inner = inner[0].get("msg")
    if isinstance(inner, dict):
        return error_details({name: inner.get(name) for name in ("message", "code", "hint", "param")})
    details = (inner, error.get("code"), error.get("hint"), error.get("param"))
    return ErrorDetails(*(detail if isinstance(detail, str) else "" for detail in details))


def error_from_status(
    server: Endpoint, status: int, details: ErrorDetails, retry_after: float | None = None
) -> PixtralError:
    """The error for an HTTP status and the details of an error reply. `retry_after`: seconds until the next attempt."""
    why = details.message.replace(server.key, "***") if server.key else details.message
    if details.code == "queue_full":
        return ServerQueueFull(_shorten(f"{server.name}: {why}"), retry_after or 1.0)
    kind = ERROR_CODES.get(details.code) or (ContextError if _is_context_error(status, why) else None)
    if server.socket and not server.program and why:
        if kind is None and status < 500:
            return UsageError(why, details.hint, details.param)
        return (kind or NetworkError)(why, details.hint)
    message = f"{server.name}: {why}" if why else f"{server.name} answered with status {status}"
    message = _shorten(message)
    if status in (401, 403):
        refused = "refuses the API key" if server.key else "needs an API key"
        return Refused(f"{server.name} {refused}", LOGIN_HINT)
    if status == 404:
        return ModelError(message, "Check --model and --base-url")
    if kind:
        return kind(message)
    if status == 429:
        when = f" in {retry_after:.0f} s" if retry_after else " later"
        return NetworkError(f"{server.name}: too many requests", f"Try again{when}")
    if status in (400, 413, 422):
        return UsageError(message)
    if status in (200, 405, 501) or 300 <= status < 400:
        return NetworkError(f"{server.name} does not answer as a chat completions API", "Check --base-url")
    return NetworkError(message, "Try again later")


def _shorten(message: str) -> str:
    return message if len(message) <= 120 else f"{message[:119]}…"


def _is_context_error(status: int, message: str) -> bool:
    """Whether a message is about a prompt that exceeds the context window."""
    text = message.lower()
    return (
        status in (400, 413, 422)
        and "token" in text
        and any(phrase in text for phrase in ("context", "maximum", "too l"))
    )
