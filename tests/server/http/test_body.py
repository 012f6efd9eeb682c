"""A body is read within its limits, and what it held is given back however its request ends."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import Request

from pixtral_cli.server.http.body import MAX_VALUES, BodyReader
from pixtral_cli.server.http.errors import ApiError


def request(*chunks: bytes) -> Request:
    """A request of JSON whose body comes in these pieces; without a last one it never ends."""
    pending = list(chunks)

    async def receive() -> dict[str, object]:
        if not pending:
            await asyncio.sleep(3600)
        chunk = pending.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": chunk != b""}

    headers = [(b"content-type", b"application/json")]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def test_a_body_that_is_not_said_to_be_json_says_how_curl_says_it() -> None:
    plain = Request({"type": "http", "method": "POST", "path": "/", "headers": []})

    async def refused() -> None:
        async with BodyReader(1000, 5, 1000).read(plain):
            pass

    with pytest.raises(ApiError) as caught:
        asyncio.run(refused())
    assert (caught.value.status, "curl -H 'Content-Type: application/json'" in caught.value.message) == (415, True)


async def read(reader: BodyReader, *chunks: bytes) -> bytes:
    async with reader.read(request(*chunks)) as (body, _):
        return bytes(body)


def statuses(reader: BodyReader, bodies: Sequence[Sequence[bytes]]) -> list[int]:
    """The status that each body is refused with, 200 for one that is read."""

    async def each() -> list[int]:
        result = []
        for chunks in bodies:
            try:
                await read(reader, *chunks)
                result.append(200)
            except ApiError as error:
                result.append(error.status)
        return result

    return asyncio.run(each())


def test_a_body_is_read_up_to_its_limit_and_no_further() -> None:
    reader = BodyReader(10, 5, 1000)
    assert statuses(reader, [[b'"12345678"', b""], [b'"12345', b'6789"', b""]]) == [200, 413]


def test_what_was_held_is_given_back_whether_it_was_read_or_refused() -> None:
    reader = BodyReader(40, 5, 50)
    refused, taken = [b" " * 41, b""], [b'"' + b" " * 30 + b'"', b""]
    assert statuses(reader, [taken, refused] * 10) == [200, 413] * 10


def test_bodies_that_are_too_much_together_are_refused_until_one_is_done() -> None:
    reader = BodyReader(40, 5, 50)
    body = b'"' + b" " * 30 + b'"'

    async def two() -> None:
        async with reader.read(request(body, b"")):
            with pytest.raises(ApiError) as error:
                await read(reader, body, b"")
            assert error.value.status == 503
        assert await read(reader, body, b"") == body

    asyncio.run(two())


def test_a_body_that_does_not_end_is_given_up() -> None:
    assert statuses(BodyReader(40, 0.05, 50), [[b'"']]) == [408]


def test_a_timeout_of_what_is_done_with_the_body_is_not_its_own() -> None:
    async def slow() -> None:
        async with BodyReader(40, 5, 50).read(request(b"{}", b"")):
            raise TimeoutError("the engine's")

    with pytest.raises(TimeoutError, match="the engine's"):
        asyncio.run(slow())


def test_commas_within_texts_are_no_values() -> None:
    reader = BodyReader(10**7, 5, 10**7)
    text = b'"' + b"," * (MAX_VALUES + 1) + b'"'
    values = b"[" + b"1," * MAX_VALUES + b"1]"
    assert statuses(reader, [[text, b""], [values, b""]]) == [200, 400]
