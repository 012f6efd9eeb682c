"""HTTP to one chat completions API: the client, its patience, its retries, and its failures in our words. Knows no message."""

import contextlib
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from pixtral_cli.engines.remote.errors import Endpoint, ErrorDetails, Unreachable, error_details, error_from_status
from pixtral_cli.errors import NetworkError

if TYPE_CHECKING:
    import httpx2

MAX_TRIES = 4
RETRY_STATUSES = frozenset({429, 502, 503, 504})
MAX_RETRY_AFTER = 60.0  # seconds of Retry-After that are waited for
MAX_ERROR_BODY = 64_000
MAX_REPLY_BODY = 16_000_000


class Cancellation:
    """Ends one request from any thread: a wait for the next try at once, and an answer of this machine's in the making."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self._socket: socket.socket | None = None

    def cut(self) -> None:
        self.done.set()
        if self._socket:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """The HTTP client's trace extension: learn which socket was opened."""
        if event in ("connection.connect_tcp.complete", "connection.connect_unix_socket.complete"):
            self._socket = info["return_value"].get_extra_info("socket")
            if self.done.is_set():
                self.cut()


class ApiClient:
    """Requests to one server. Its methods raise PixtralErrors; none of these holds the key."""

    def __init__(
        self,
        to: Endpoint,
        *,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
        patience: float | None = 600,
    ) -> None:
        self.server = to
        self._wait = wait
        self._patience = patience  # seconds of silence before and within an answer

    @cached_property
    def _client(self) -> "httpx2.Client":
        import httpx2

        headers = {"Accept-Encoding": "identity", "User-Agent": "pixtral"}
        if self.server.key:
            headers["Authorization"] = f"Bearer {self.server.key}"
        path = self.server.socket
        here = self.server.here
        limits = httpx2.Limits(
            max_keepalive_connections=0 if here else 20
        )  # here, a connection is an answer: see Cancellation
        return httpx2.Client(
            headers=headers,
            timeout=httpx2.Timeout(self._patience, connect=10, write=60, pool=60),
            follow_redirects=False,
            trust_env=not here,
            limits=limits,
            transport=httpx2.HTTPTransport(uds=str(path), limits=limits) if path else None,
        )

    def close(self) -> None:
        self._client.close()

    def get(self, path: str) -> Any:
        """The JSON at a path of the API."""
        return self._got(f"{self.server.base_url}{path}")

    def outside(self, path: str) -> Any:
        """The JSON at a path of the server that is no part of the API."""
        return self._got(f"{self.server.root}{path}")

    def _got(self, url: str) -> Any:
        with self._opened("GET", url, None, Cancellation()) as response:
            return self._json(response)

    def post(self, path: str, body: Any) -> Any:
        """The JSON that a path answers to `body`."""
        with self._opened("POST", f"{self.server.base_url}{path}", body, Cancellation()) as response:
            return self._json(response)

    def events(self, path: str, body: Any, cut: Cancellation) -> Generator[Any, None, None]:
        """The objects that a path streams as an answer to `body`; one whole object, if it doesn't stream.

        Ends at `[DONE]` or where the stream ends. Closing the iterator closes the connection.
        """
        import httpx2

        with self._opened("POST", f"{self.server.base_url}{path}", body, cut) as response:
            if response.headers.get("content-type", "").startswith("application/json"):
                yield self._json(response)
                return
            with self._failures():
                for event in httpx2.EventSource(response):
                    if event.data == "[DONE]":
                        return
                    yield self._decoded(event.data)

    @contextlib.contextmanager
    def _opened(self, method: str, url: str, body: Any, cut: Cancellation) -> Iterator["httpx2.Response"]:
        """A response of status 200, its body unread. Tries again only where no answer has begun."""
        content = None if body is None else json.dumps(body).encode()
        for left in reversed(range(MAX_TRIES)):
            response = self._sent(method, url, content, cut, last=not left)
            if response is None:
                self._pause(0.5, cut)
                continue
            try:
                if response.status_code == 200 and "content-encoding" not in response.headers:
                    yield response
                    return
                wait = (
                    self._patience_for(response, MAX_TRIES - left)
                    if left and response.status_code in RETRY_STATUSES
                    else None
                )
                if wait is None:
                    self._refused(response)
            finally:
                response.close()
            self._pause(wait, cut)

    def _sent(
        self, method: str, url: str, content: bytes | None, cut: Cancellation, *, last: bool
    ) -> "httpx2.Response | None":
        """None when the server cannot be reached but it's worth trying again."""
        request = self._client.build_request(
            method,
            url,
            content=content,
            headers={"Content-Type": "application/json"},
            extensions={"trace": cut.trace} if self.server.here else {},
        )
        try:
            with self._failures():
                return self._client.send(request, stream=True)
        except Unreachable:
            if last or self.server.here:
                raise
            return None

    def _pause(self, seconds: float, cut: Cancellation) -> None:
        if self._wait(cut.done, seconds):
            raise NetworkError("The answer is no longer wanted")

    def _patience_for(self, response: "httpx2.Response", attempt: int) -> float | None:
        """Seconds to wait before the next try; None when the server wants us to wait too long."""
        asked = _parse_retry_after(response.headers.get("retry-after", ""))
        if asked is not None:
            return asked if asked <= MAX_RETRY_AFTER else None
        return float(0.5 * 2 ** (attempt - 1) * random.uniform(0.8, 1.2))

    def _refused(self, response: "httpx2.Response") -> NoReturn:
        """Raise what a response other than 200 means."""
        with self._failures():
            said = _parse_error(_read_limited(response, MAX_ERROR_BODY))
        raise error_from_status(
            self.server, response.status_code, said, _parse_retry_after(response.headers.get("retry-after", ""))
        )

    def broken(self, why: str) -> NetworkError:
        """The error of an answer that is none."""
        return NetworkError(f"{self.server.name} {why}", "Check --base-url")

    def _json(self, response: "httpx2.Response") -> Any:
        with self._failures():
            return self._decoded(_read_limited(response, MAX_REPLY_BODY))

    def _decoded(self, text: str | bytes) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.broken("sent something that is not JSON") from error

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """The HTTP client's exceptions, in our words."""
        import httpx2

        name = self.server.name
        try:
            yield
        except httpx2.ConnectTimeout as error:
            raise Unreachable(f"{name} cannot be reached: no connection within 10 s", "Check the network") from error
        except httpx2.ConnectError as error:
            hint = "Is the server running?" if self.server.here else "Check the network and --base-url"
            raise Unreachable(f"{name} cannot be reached: {_root_cause(error)}", hint) from error
        except httpx2.TimeoutException as error:
            raise NetworkError(f"{name} fell silent", "Try again") from error
        except httpx2.SSEError as error:
            raise self.broken("sent something that is no answer") from error
        except httpx2.TransportError as error:
            raise NetworkError(f"{name} broke off the connection", "Try again") from error
        except (httpx2.DecodingError, httpx2.InvalidURL, UnicodeError) as error:
            raise self.broken("sent something unreadable") from error


def _parse_error(body: bytes) -> ErrorDetails:
    try:
        return error_details(json.loads(body))
    except (ValueError, RecursionError):
        return ErrorDetails()


def _read_limited(response: "httpx2.Response", limit: int) -> bytes:
    body = b""
    for piece in response.iter_bytes():
        body += piece
        if len(body) > limit:
            break
    return body


def _parse_retry_after(header: str) -> float | None:
    """Retry-After: seconds, or a date."""
    if header.strip().isdecimal():
        return float(header)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _root_cause(error: Exception) -> str:
    """The last of a chain of exceptions, which knows the reason, in few words."""
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    words = getattr(cause, "strerror", None) or str(cause)
    return words[:60].lower()
