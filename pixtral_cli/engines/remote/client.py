"""An HTTP client for a chat completions API: time-outs, retries, and HTTP failures as `PixtralError`s."""

import contextlib
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from pixtral_cli.api.attachments import CONTENT_TYPE
from pixtral_cli.engines.remote.errors import (
    Endpoint,
    ErrorDetails,
    NotListening,
    Unreachable,
    error_details,
    error_from_status,
)
from pixtral_cli.errors import NetworkError

if TYPE_CHECKING:
    import httpx2

MAX_TRIES = 4  # attempts of a request
RETRY_STATUSES = frozenset({429, 502, 503, 504})
MAX_RETRY_AFTER = 60.0  # seconds; a longer Retry-After is not waited for
MAX_ERROR_BODY = 64_000  # bytes
MAX_REPLY_BODY = 16_000_000  # bytes


class CancellableRequest:
    """Lets any thread cancel a request. Waiting for a retry ends at once, and so does the answer of a local server."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._socket: socket.socket | None = None

    def cancel(self) -> None:
        """Cancel the request and shut down its connection to a local server."""
        self.cancelled.set()
        if self._socket:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Callback of the HTTP client's trace extension, which stores the socket of the connection."""
        if event in ("connection.connect_tcp.complete", "connection.connect_unix_socket.complete"):
            self._socket = info["return_value"].get_extra_info("socket")
            if self.cancelled.is_set():
                self.cancel()


class ApiClient:
    """Sends requests to one server. Methods raise `PixtralError`s, whose messages never contain the key.

    `read_timeout`: seconds without a byte before and within an answer.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        sleep: Callable[[threading.Event, float], bool] = threading.Event.wait,
        read_timeout: float | None = 600,
    ) -> None:
        self.server = endpoint
        self._sleep = sleep
        self._read_timeout = read_timeout

    @cached_property
    def _client(self) -> "httpx2.Client":
        import httpx2

        headers = {"Accept-Encoding": "identity", "User-Agent": "pixtral"}
        if self.server.key:
            headers["Authorization"] = f"Bearer {self.server.key}"
        path = self.server.socket
        local = self.server.is_local
        # A connection to a local server serves one answer, which closing it cancels: see CancellableRequest.
        limits = httpx2.Limits(max_keepalive_connections=0 if local else 20)
        return httpx2.Client(
            headers=headers,
            timeout=httpx2.Timeout(self._read_timeout, connect=10, write=60, pool=60),
            follow_redirects=False,
            trust_env=not local,
            limits=limits,
            transport=httpx2.HTTPTransport(uds=str(path), limits=limits) if path else None,
        )

    def close(self) -> None:
        self._client.close()

    def get(self, path: str) -> Any:
        """The JSON at a path of the API."""
        return self._get_json(f"{self.server.base_url}{path}")

    def get_from_root(self, path: str) -> Any:
        """The JSON at a path outside the API (above `/v1`)."""
        return self._get_json(f"{self.server.root}{path}")

    def _get_json(self, url: str) -> Any:
        with self._open("GET", url, None, CancellableRequest()) as response:
            return self._json(response)

    def post(self, path: str, body: Any) -> Any:
        """POST `body` as JSON, or the bytes of a request with attachments; returns the JSON of the reply."""
        with self._open("POST", f"{self.server.base_url}{path}", body, CancellableRequest()) as response:
            return self._json(response)

    def events(self, path: str, body: Any, request: CancellableRequest) -> Generator[Any, None, None]:
        """POST `body` (see `post`); yields the objects of the event stream, or the only object of another reply.

        Ends at `[DONE]` or where the stream ends. Closing the iterator closes the connection.
        """
        import httpx2

        with self._open("POST", f"{self.server.base_url}{path}", body, request) as response:
            if response.headers.get("content-type", "").startswith("application/json"):
                yield self._json(response)
                return
            with self._translated_errors():
                for event in httpx2.EventSource(response):
                    if event.data == "[DONE]":
                        return
                    yield self._decode(event.data)

    @contextlib.contextmanager
    def _open(self, method: str, url: str, body: Any, request: CancellableRequest) -> Iterator["httpx2.Response"]:
        """A response of status 200, its body unread. Retried only before it has begun.

        Raises the error of any other response.
        """
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = CONTENT_TYPE if isinstance(body, bytes) else "application/json"
        for retries_left in reversed(range(MAX_TRIES)):
            response = self._send(method, url, content, kind, request, last=not retries_left)
            if response is None:
                self._pause(0.5, request)
                continue
            try:
                if response.status_code == 200 and "content-encoding" not in response.headers:
                    yield response
                    return
                wait = (
                    self._retry_delay(response, MAX_TRIES - retries_left)
                    if retries_left and response.status_code in RETRY_STATUSES
                    else None
                )
                if wait is None:
                    self._raise_refusal(response)
            finally:
                response.close()
            self._pause(wait, request)

    def _send(
        self, method: str, url: str, content: bytes | None, kind: str, request: CancellableRequest, *, last: bool
    ) -> "httpx2.Response | None":
        """Send once. Returns None when a server elsewhere cannot be reached and this is not the `last` attempt."""
        outgoing = self._client.build_request(
            method,
            url,
            content=content,
            headers={"Content-Type": kind},
            extensions={"trace": request.trace} if self.server.is_local else {},
        )
        try:
            with self._translated_errors():
                return self._client.send(outgoing, stream=True)
        except Unreachable:
            if last or self.server.is_local:
                raise
            return None

    def _pause(self, seconds: float, request: CancellableRequest) -> None:
        """Wait before a retry. Raises NetworkError when the request is cancelled."""
        if self._sleep(request.cancelled, seconds):
            raise NetworkError("The answer was cancelled")

    def _retry_delay(self, response: "httpx2.Response", attempt: int) -> float | None:
        """Seconds until the retry: Retry-After, or None above `MAX_RETRY_AFTER`; without it exponential back-off."""
        seconds = _parse_retry_after(response.headers.get("retry-after", ""))
        if seconds is not None:
            return seconds if seconds <= MAX_RETRY_AFTER else None
        return float(0.5 * 2 ** (attempt - 1) * random.uniform(0.8, 1.2))

    def _raise_refusal(self, response: "httpx2.Response") -> NoReturn:
        """Raise the error for a response of another status than 200."""
        with self._translated_errors():
            details = _parse_error(_read_limited(response, MAX_ERROR_BODY))
        raise error_from_status(
            self.server, response.status_code, details, _parse_retry_after(response.headers.get("retry-after", ""))
        )

    def malformed(self, why: str) -> NetworkError:
        """The error for a reply that is not a chat completion."""
        return NetworkError(f"{self.server.name} {why}", "Check --base-url")

    def _json(self, response: "httpx2.Response") -> Any:
        with self._translated_errors():
            return self._decode(_read_limited(response, MAX_REPLY_BODY))

    def _decode(self, text: str | bytes) -> Any:
        try:
            return json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise self.malformed("sent something that is not JSON") from error

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Turns the HTTP client's exceptions into NetworkErrors."""
        import httpx2

        name = self.server.name
        try:
            yield
        except httpx2.ConnectTimeout as error:
            raise Unreachable(f"{name} cannot be reached: no connection within 10 s", "Check the network") from error
        except httpx2.ConnectError as error:
            hint = "Is the server running?" if self.server.is_local else "Check the network and --base-url"
            cause = _root_cause(error)
            kind = NotListening if isinstance(cause, ConnectionRefusedError | FileNotFoundError) else Unreachable
            raise kind(f"{name} cannot be reached: {_reason(cause)}", hint) from error
        except httpx2.TimeoutException as error:
            raise NetworkError(f"{name} stopped sending", "Try again") from error
        except httpx2.SSEError as error:
            raise self.malformed("sent something that is not an answer") from error
        except httpx2.TransportError as error:
            raise NetworkError(f"{name} broke off the connection", "Try again") from error
        except (httpx2.DecodingError, httpx2.InvalidURL, UnicodeError) as error:
            raise self.malformed("sent something unreadable") from error


def _parse_error(body: bytes) -> ErrorDetails:
    try:
        return error_details(json.loads(body))
    except (ValueError, RecursionError):
        return ErrorDetails()


def _read_limited(response: "httpx2.Response", limit: int) -> bytes:
    """The body, up to the piece that exceeds `limit` bytes."""
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > limit:
            break
    return bytes(body)


def _parse_retry_after(header: str) -> float | None:
    """The seconds of a Retry-After header, which is a number or a date; None when it is neither."""
    if header.strip().isdecimal():
        return float(header)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _root_cause(error: BaseException) -> BaseException:
    """The exception at the beginning of a chain of causes."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


def _reason(cause: BaseException) -> str:
    return (getattr(cause, "strerror", None) or str(cause))[:60].lower()
