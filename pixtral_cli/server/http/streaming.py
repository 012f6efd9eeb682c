"""Server-sent events, and work that is cancelled when the client disconnects. What is sent is decided in `app`."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from pixtral_cli.api.errors import SERVER
from pixtral_cli.server.http.errors import INTERNAL_ERROR, ApiError

T = TypeVar("T")

DONE = b"data: [DONE]\n\n"
EMPTY = b""


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


class EventStreamResponse(Response):
    """Server-sent events. `resources` are released when the last event is sent or the client has disconnected."""

    media_type = "text/event-stream"

    def __init__(
        self,
        objects: AsyncIterator[dict[str, Any]],
        ending: asyncio.Event,
        resources: AsyncExitStack,
        read_timeout: float,
        *,
        left: Callable[[], None],
        broke: Callable[[], None],
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._objects = objects
        self._ending = ending
        self._resources = resources
        self._left = left
        self._broke = broke
        self._read_timeout = read_timeout  # seconds in which a client reads what it was sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._resources:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            end: ApiError | bytes = INTERNAL_ERROR  # a bug is reported to the client and logged further up
            try:
                await run_while_connected(receive, self._ending, self._send(send))
                end = DONE
            except ApiError as error:
                end = error
            except ClientGone:
                end = EMPTY
                self._left()
            finally:
                await self._finish(send, end)

    async def _finish(self, send: Callable[[Message], Awaitable[None]], end: ApiError | bytes) -> None:
        if isinstance(end, ApiError):
            self._broke()
            end = encode_event(end.body)
        if end:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._read_timeout):
                    await send(_body_message(end, more=False))

    async def _send(self, send: Callable[[Message], Awaitable[None]]) -> None:
        async for value in self._objects:
            try:
                async with asyncio.timeout(self._read_timeout):
                    await send(_body_message(encode_event(value), more=True))
            except TimeoutError:
                raise ClientGone from None


def encode_event(value: dict[str, Any]) -> bytes:
    """One event. ASCII JSON escapes newlines, control characters and U+2028."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n\n"


def _body_message(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
