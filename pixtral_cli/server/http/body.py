"""Reads request bodies within limits: bytes, seconds, number of JSON values, and bytes of all bodies together."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from pixtral_cli.api.attachments import CONTENT_TYPE, split
from pixtral_cli.server.http.encoding import decode, zlib_wbits
from pixtral_cli.server.http.errors import ApiError, queue_full

MAX_VALUES = 100_000
JSON_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


class BodyReader:
    """Accepts at most `limit` bytes a body, which must arrive within `seconds`, and `total` bytes of all bodies in use.

    `attachments`: bodies with attachments (see `api.attachments`) are accepted too.
    """

    def __init__(self, limit: int, seconds: float, total: int, *, attachments: bool = False) -> None:
        self._limit = limit
        self._seconds = seconds
        self._total = total
        self._media_types = ("application/json", *([CONTENT_TYPE] if attachments else []))
        self._held = 0

    @asynccontextmanager
    async def read(self, request: Request, *, any_type: bool = False) -> AsyncIterator[tuple[bytearray, memoryview]]:
        """The JSON and the attachments of a body, which counts in the total until the context is left.

        `any_type`: the body is JSON, whatever its Content-Type. Raises ApiError 400, 408, 413, 415 or 503.
        """
        media_type = "" if any_type else self._content_type(request)
        wbits = zlib_wbits(request.headers.get("content-encoding", ""))
        self._check_size(int(request.headers.get("content-length", 0)))
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds) as deadline:
                async for chunk in request.stream():
                    self._held += len(chunk)
                    body += chunk
                    self._check_size(len(body))
                    if self._held > self._total:
                        raise queue_full(5)
            if wbits is not None:
                self._held -= len(body)
                body = await asyncio.to_thread(decode, body, wbits, self._limit)
                self._held += len(body)
                self._check_size(len(body))
            text, attached = split(body) if media_type == CONTENT_TYPE else (body, memoryview(b""))
            await asyncio.to_thread(_check_value_count, text)
            yield text, attached
        except TimeoutError:
            if not deadline.expired():
                raise
            raise ApiError(
                408, "The request took too long to arrive.", code="request_timeout", headers={"Connection": "close"}
            ) from None
        finally:
            self._held -= len(body)

    def _content_type(self, request: Request) -> str:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in self._media_types:
            why = "Content-Type must be application/json: curl -H 'Content-Type: application/json' …"
            raise ApiError(415, why, code="unsupported_media_type")
        return media_type

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            why = f"The request is larger than {self._limit:,} bytes."
            raise ApiError(413, why, code="request_too_large")


def _check_value_count(body: bytearray) -> None:
    """Raises ApiError 400 for a body with too many JSON values, which needs far more memory when it is parsed."""
    if _count_values(body) > MAX_VALUES and _count_values(JSON_STRING.sub(b"", body)) > MAX_VALUES:
        raise ApiError(400, f"The body holds more than {MAX_VALUES:,} values.", code="too_many_values")


def _count_values(body: bytes | bytearray) -> int:
    """An upper bound of the number of JSON values: commas inside strings are counted too."""
    return sum(map(body.count, (b",", b"[", b"{")))
