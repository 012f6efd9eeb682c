"""Streams JSON objects as events or lines, and cancels work when the client disconnects."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from pixtral_cli.api.errors import SERVER
from pixtral_cli.server.http.errors import INTERNAL_ERROR, ApiError

T = TypeVar("T")


def encode_event(value: dict[str, Any]) -> bytes:
    """A server-sent event with JSON in ASCII as its data, which escapes newlines, control characters and U+2028."""
    return b"data: " + encode_line(value) + b"\n"


def encode_named_event(value: dict[str, Any]) -> bytes:
    """A server-sent event whose name is the object's `type`."""
    return b"event: " + str(value["type"]).encode("ascii") + b"\n" + encode_event(value)


def encode_line(value: dict[str, Any]) -> bytes:
    """One line of JSON, in ASCII."""
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


@dataclass(frozen=True, slots=True)
class Framing:
    """How the objects of a stream are encoded; `end` is sent after the last object of a complete stream."""

    media_type: str
    encode: Callable[[dict[str, Any]], bytes]
    end: bytes = b""


DATA_EVENTS = Framing("text/event-stream", encode_event, b"data: [DONE]\n\n")
NAMED_EVENTS = Framing("text/event-stream", encode_named_event)
JSON_LINES = Framing("application/x-ndjson", encode_line)


class ClientDisconnected(Exception):
    """The client has disconnected."""


async def run_while_connected(receive: Receive, ending: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client disconnects or `ending` is set (the server shuts down).

    Raises ClientDisconnected or ApiError 503 then. The request's body must have been read.
    """
    working = asyncio.ensure_future(work)
    on_disconnect = asyncio.ensure_future(_until_disconnect(receive))
    ended = asyncio.ensure_future(ending.wait())
    try:
        await asyncio.wait({working, on_disconnect, ended}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if on_disconnect.done():
            raise ClientDisconnected
        raise ApiError(503, "The server is shutting down.", SERVER, code="shutting_down", headers={"Retry-After": "10"})
    finally:
        for task in (working, on_disconnect, ended):
            task.cancel()
        await asyncio.gather(working, on_disconnect, ended, return_exceptions=True)


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class StreamResponse(Response):
    """Streams `objects`; `resources` are released when the last one is sent or the client has disconnected.

    `error` makes the objects that end a stream after an error. `read_timeout`: seconds within which the client must
    read what it is sent. `on_disconnect` and `on_failure` are called when the stream ends early.
    """

    def __init__(
        self,
        objects: AsyncIterator[dict[str, Any]],
        framing: Framing,
        error: Callable[[ApiError], Iterable[dict[str, Any]]],
        ending: asyncio.Event,
        resources: AsyncExitStack,
        read_timeout: float,
        *,
        on_disconnect: Callable[[], None],
        on_failure: Callable[[], None],
    ) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(headers=headers, media_type=framing.media_type)
        del self.headers["content-length"]
        self._objects = objects
        self._framing = framing
        self._error = error
        self._ending = ending
        self._resources = resources
        self._on_disconnect = on_disconnect
        self._on_failure = on_failure
        self._read_timeout = read_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._resources:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            end: ApiError | bytes | None = INTERNAL_ERROR  # a bug is reported to the client and logged further up
            try:
                await run_while_connected(receive, self._ending, self._send(send))
                end = self._framing.end
            except ApiError as error:
                end = error
            except ClientDisconnected:
                end = None
                self._on_disconnect()
            finally:
                if end is not None:
                    await self._finish(send, end)

    async def _finish(self, send: Callable[[Message], Awaitable[None]], end: ApiError | bytes) -> None:
        if isinstance(end, ApiError):
            self._on_failure()
            end = b"".join(self._framing.encode(value) for value in self._error(end))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._read_timeout):
                await send(_body_message(end, more=False))

    async def _send(self, send: Callable[[Message], Awaitable[None]]) -> None:
        async for value in self._objects:
            try:
                async with asyncio.timeout(self._read_timeout):
                    await send(_body_message(self._framing.encode(value), more=True))
            except TimeoutError:
                raise ClientDisconnected from None


def _body_message(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
