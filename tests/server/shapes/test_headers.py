"""Headers of requests and replies, for the paths of every API: ids of requests, compressed bodies."""

import gzip
import json
import re
import zlib

import pytest

from pixtral_cli.server.http.access import AccessRules
from tests.fakes import FakeEngine
from tests.server.serving import Running, data_url, serving
from tests.server.shapes.test_access import POSTS, asking

ID = re.compile(r"req_[0-9a-f]{32}")

GZIPPED = gzip.compress(b"{}" * 99, mtime=0)  # the same in every process that collects these tests


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("stream", [False, True])
def test_every_reply_names_its_request(path: str, stream: bool) -> None:
    """Answers, streams, refusals, failures."""
    engine = FakeEngine(["yes", ValueError("a bug")])
    with serving(engine, rules=AccessRules(api_key="k")) as running, running.client as client:
        body = asking(path, data_url()) | ({} if path.endswith("count_tokens") else {"stream": stream})
        key = {"x-api-key": "k"}
        replies = [
            client.post(path, json=body, headers=key),
            client.post(path, json={**body, "model": "other"}, headers=key),
            client.post(path, content=b"{", headers=key | {"Content-Type": "application/json"}),
            client.post(path, json=body),
            client.get(path, headers=key),
            client.post(path, json=body, headers=key),
        ]
    expected = [200, 404, 400, 401, 405, 200 if path.endswith("count_tokens") else 500]
    assert [reply.status_code for reply in replies] == expected
    ids = [reply.headers["x-request-id"] for reply in replies]
    assert all(ID.fullmatch(one) for one in ids)
    assert len(set(ids)) == len(ids)
    assert [reply.headers["request-id"] for reply in replies] == ids
    if path.startswith("/v1/messages"):
        assert replies[1].json()["request_id"] == ids[1]


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "identity"])
def test_compressed_bodies_are_read(path: str, encoding: str) -> None:
    with serving(FakeEngine(["yes"])) as running, running.client as client:
        data = json.dumps(asking(path, data_url())).encode()
        packed = {"gzip": gzip.compress, "deflate": zlib.compress}.get(encoding.lower(), bytes)(data)
        named = {"Content-Type": "application/json", "Content-Encoding": encoding}
        reply = client.post(path, content=packed, headers=named)
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "x"])
def test_other_encodings_are_refused_by_name(encoding: str, running: Running) -> None:
    with running.client as client:
        named = {"Content-Type": "application/json", "Content-Encoding": encoding}
        reply = client.post("/v1/chat/completions", content=b"\x00", headers=named)
    assert (reply.status_code, reply.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert "gzip" in reply.headers["accept-encoding"]


@pytest.mark.parametrize("body", [b"", b"{}", GZIPPED[:-9], GZIPPED + b"more", b"\x1f\x8b\x08" + b"\0" * 30])
def test_a_body_that_is_no_gzip_is_refused(body: bytes, running: Running) -> None:
    with running.client as client:
        named = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        reply = client.post("/v1/messages", content=body, headers=named)
    assert (reply.status_code, "Content-Encoding" in reply.json()["error"]["message"]) == (400, True)


def test_a_small_body_that_unpacks_to_a_large_one_is_refused() -> None:
    with serving(FakeEngine([]), body_limit=1_000_000) as running, running.client as client:
        bomb = gzip.compress(b" " * 500_000_000, 9)
        named = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        assert len(bomb) < 1_000_000
        assert client.post("/v1/chat/completions", content=bomb, headers=named).status_code == 413


def test_the_usage_of_a_stream_is_sent_to_those_who_ask_and_to_la_plateformes_client() -> None:
    def lines(user_agent: str, **fields: object) -> list[dict[str, object]]:
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": True, **fields}
        reply = client.post("/v1/chat/completions", json=body, headers={"User-Agent": user_agent})
        return [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]

    with serving(FakeEngine(["yes"] * 4)) as running, running.client as client:
        unasked, asked = lines("OpenAI/Python"), lines("x", stream_options={"include_usage": True})
        mistral = lines("speakeasy-sdk/python 2 mistralai")
        refused = lines("OpenAI/Python", stream_options={"include_usage": False})
    assert not any("usage" in line for line in [*unasked, *refused])
    assert "timings" in unasked[-1]
    assert (asked[-1]["choices"], "usage" in asked[-1], "usage" in asked[-2]) == ([], True, False)
    assert mistral[-1]["usage"] and mistral[-1]["choices"]


def test_paths_of_the_worker_are_not_listed() -> None:
    with serving(FakeEngine([])) as running, running.client as client:
        message = client.get("/v1/nothing").json()["error"]["message"]
        assert client.get("/v1/status").status_code == 404
    assert "/v1/status" not in message
