"""Streams of JSON objects, and work that is cancelled when the client disconnects. What is sent is decided in `app`."""

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
    """One server-sent event. ASCII JSON escapes newlines, control characters and U+2028."""
    return b"data: " + encode_line(value) + b"\n"


def encode_named_event(value: dict[str, Any]) -> bytes:
    """A server-sent event that is named by the object's `type`."""
    return b"event: " + str(value["type"]).encode("ascii") + b"\n" + encode_event(value)


def encode_line(value: dict[str, Any]) -> bytes:
    """One line of JSON, in ASCII."""
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"


@dataclass(frozen=True, slots=True)
class Framing:
    """How the objects of a stream follow one another, and what ends a stream that is whole."""

    media_type: str
    encode: Callable[[dict[str, Any]], bytes]
    end: bytes = b""


DATA_EVENTS = Framing("text/event-stream", encode_event, b"data: [DONE]\n\n")
NAMED_EVENTS = Framing("text/event-stream", encode_named_event)
JSON_LINES = Framing("application/x-ndjson", encode_line)


class ClientGone(Exception):
    """The client has disconnected."""


async def run_while_connected(receive: Receive, ending: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`. When the client disconnects or the server shuts down it is cancelled and awaited.

    Raises ClientGone or ApiError 503 then. The request's body must have been read.
    """
    working = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_until_disconnect(receive))
    ended = asyncio.ensure_future(ending.wait())
    try:
        await asyncio.wait({working, left, ended}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        if left.done():
            raise ClientGone
        raise ApiError(503, "The server is shutting down.", SERVER, code="shutting_down", headers={"Retry-After": "10"})
    finally:
        for task in (working, left, ended):
            task.cancel()
        await asyncio.gather(working, left, ended, return_exceptions=True)


async def _until_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class StreamResponse(Response):
    """Objects as they come. `resources` are released when the last one is sent or the client has disconnected.

    `error` makes the objects that a stream ends with that breaks off.
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
        left: Callable[[], None],
        broke: Callable[[], None],
    ) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(headers=headers, media_type=framing.media_type)
        del self.headers["content-length"]
        self._objects = objects
        self._framing = framing
        self._error = error
        self._ending = ending
        self._resources = resources
        self._left = left
        self._broke = broke
        self._read_timeout = read_timeout  # seconds in which a client reads what it was sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._resources:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            end: ApiError | bytes | None = INTERNAL_ERROR  # a bug is reported to the client and logged further up
            try:
                await run_while_connected(receive, self._ending, self._send(send))
                end = self._framing.end
            except ApiError as error:
                end = error
            except ClientGone:
                end = None
                self._left()
            finally:
                if end is not None:
                    await self._finish(send, end)

    async def _finish(self, send: Callable[[Message], Awaitable[None]], end: ApiError | bytes) -> None:
        if isinstance(end, ApiError):
            self._broke()
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
                raise ClientGone from None


def _body_message(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
