"""What a model thinks before its answer is `reasoning_content`, whole and streaming, here and at the other end."""

import json
from typing import Any

import pytest
from pytest_httpserver import HTTPServer

from pixtral_cli.chat.engine import Chunk, Sampling, Usage
from pixtral_cli.chat.message import assistant, user
from pixtral_cli.engines.remote.client import ApiClient
from pixtral_cli.engines.remote.engine import RemoteEngine
from pixtral_cli.engines.remote.errors import parse_endpoint
from pixtral_cli.engines.remote.wire_format import build_request
from tests.fakes import FakeEngine
from tests.server.serving import serving

SAID = [Chunk(reasoning="Is it "), Chunk(reasoning="red?"), Chunk("It "), Chunk("is.")]


def remote(url: str) -> RemoteEngine:
    return RemoteEngine(ApiClient(parse_endpoint(url), read_timeout=10), "fake")


def test_whole_it_is_beside_the_content_and_is_counted() -> None:
    with serving(FakeEngine([SAID, "Yes."])) as running:
        body, plain = running.ask().json(), running.ask().json()
    message = body["choices"][0]["message"]
    assert (message["content"], message["reasoning_content"]) == ("It is.", "Is it red?")
    assert body["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}
    assert plain["choices"][0]["message"]["reasoning_content"] is None
    assert plain["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}


def test_streaming_it_comes_in_deltas_of_its_own() -> None:
    with serving(FakeEngine([SAID])) as running:
        events = running.ask(stream=True).text.split("\n\n")
    deltas = [
        choice["delta"]
        for event in events
        if event.startswith("data: {")
        for choice in json.loads(event.removeprefix("data: "))["choices"]
    ]
    assert deltas == [
        {"role": "assistant", "content": ""}, {"reasoning_content": "Is it "}, {"reasoning_content": "red?"},
        {"content": "It "}, {"content": "is."}, {},
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_sent_back_it_is_part_of_the_history(name: str) -> None:
    engine = FakeEngine(["Sure."])
    answer = {"role": "assistant", "content": "It is.", name: "Is it red?"}
    history = [{"role": "user", "content": "?"}, answer, {"role": "user", "content": "Sure?"}]
    with serving(engine) as running:
        assert running.ask(messages=history).status_code == 200
    assert engine.seen[0][0] == (user("?"), assistant("It is.", reasoning="Is it red?"), user("Sure?"))


def test_through_a_server_it_is_what_it_was() -> None:
    engine = FakeEngine([SAID])
    history = [user("?"), assistant("Yes.", reasoning="Hm."), user("Sure?")]
    with serving(engine) as running:
        chunks = list(remote(running.url).stream(history, Sampling()))
    assert engine.seen[0][0] == tuple(history)
    assert [(chunk.text, chunk.reasoning) for chunk in chunks[:-1]] == [(chunk.text, chunk.reasoning) for chunk in SAID]
    assert chunks[-1].usage == Usage(3, 4, 0, 0, 2)


def delta(**fields: Any) -> bytes:
    return f"data: {json.dumps({'choices': [{'index': 0, **fields}]})}\n\n".encode()


LA_PLATEFORME_STREAM = (
    delta(delta={"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Is it "}]}]})
    + delta(delta={"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "red?"}], "closed": True}]})
    + delta(delta={"content": [{"type": "text", "text": "It "}]})
    + delta(delta={"content": "is."}, finish_reason="stop")
)
VLLM_STREAM = (
    delta(delta={"reasoning": "Is it red?"})
    + delta(delta={"content": "It is."})
    + delta(delta={}, finish_reason="stop")
)
LLAMA_STREAM = VLLM_STREAM.replace(b'"reasoning"', b'"reasoning_content"')
WHOLE = json.dumps(
    {"choices": [{"message": {"content": "It is.", "reasoning_content": "Is it red?"}, "finish_reason": "stop"}]}
).encode()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (LA_PLATEFORME_STREAM, "text/event-stream"), (VLLM_STREAM, "text/event-stream"),
        (LLAMA_STREAM, "text/event-stream"), (WHOLE, "application/json"),
    ],
)  # fmt: skip
def test_everybodys_shape_of_it_is_read(httpserver: HTTPServer, body: bytes, kind: str) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_data(body, content_type=kind)
    chunks = list(remote(httpserver.url_for("/v1")).stream([user("?")], Sampling()))
    assert "".join(chunk.reasoning for chunk in chunks) == "Is it red?"
    assert "".join(chunk.text for chunk in chunks) == "It is."


def test_la_plateforme_gets_it_as_a_part_of_the_content() -> None:
    history = [user("?"), assistant("Yes.", reasoning="Hm."), user("Sure?")]
    body = build_request("m", history, Sampling(), lambda image: "", mistral=True)
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}], "closed": True},
        {"type": "text", "text": "Yes."},
    ]
