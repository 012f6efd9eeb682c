"""Anthropic's Messages API by Anthropic's client: on pictures with the demo model, event by event, and what is refused."""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anthropic
import pytest
from pydantic import BaseModel

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.engines.remote.engine import connect
from pixtral_cli.errors import ContextError, NetworkError
from pixtral_cli.server.http.access import AccessRules
from tests.fakes import FakeEngine
from tests.server.serving import Running, data_url, png, serving
from tests.server.shapes.conftest import SHAPES, example


def connected(running: Running, key: str = "any") -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=running.url, api_key=key, max_retries=0, timeout=120)


@pytest.fixture
def client(running: Running) -> Iterator[anthropic.Anthropic]:
    with connected(running) as client:
        yield client


@pytest.fixture
def demo_client(demo: Running) -> Iterator[anthropic.Anthropic]:
    with connected(demo) as client:
        yield client


def picture(data: bytes, kind: str = "image/png") -> Any:
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": b64encode(data).decode()}}


SEEN: Any = [
    {"role": "user", "content": [picture(example("shapes.png")), {"type": "text", "text": "What is in the image?"}]}
]
HELLO: Any = [{"role": "user", "content": "hello"}]


def test_the_demo_sees_a_picture_and_goes_on(demo_client: anthropic.Anthropic) -> None:
    first = demo_client.messages.create(model="demo", max_tokens=100, messages=SEEN)
    assert [block.type for block in first.content] == ["text"]
    assert first.content[0].text == SHAPES  # type: ignore[union-attr]
    assert (first.role, first.stop_reason, first.model) == ("assistant", "end_turn", "demo")
    talk: Any = [*SEEN, {"role": "assistant", "content": first.content},
                 {"role": "user", "content": "How many shapes are there?"}]  # fmt: skip
    second = demo_client.messages.create(model="demo", max_tokens=100, messages=talk)
    assert second.content[0].text == "Three."  # type: ignore[union-attr]
    assert second.usage.cache_read_input_tokens and second.usage.cache_read_input_tokens > 200
    counted = demo_client.messages.count_tokens(model="demo", messages=talk)
    assert counted.input_tokens == second.usage.input_tokens + second.usage.cache_read_input_tokens


@pytest.mark.parametrize("through_a_worker", [False, True])
def test_tools_are_counted(demo: Running, through_a_worker: bool) -> None:
    tools: Any = [{"name": "look", "description": "Look closer.", "input_schema": {"type": "object", "properties": {}}}]
    asked: Any = {"model": "demo", "messages": SEEN, "tools": tools}
    with ExitStack() as stack:
        if through_a_worker:
            demo = stack.enter_context(serving(connect(f"{demo.url}/v1", "demo", Path("/no/keys")), model="demo"))
        client = stack.enter_context(connected(demo))
        counted = client.messages.count_tokens(**asked).input_tokens
        used = client.messages.create(**asked, max_tokens=1).usage
        assert counted == used.input_tokens + (used.cache_read_input_tokens or 0)
        assert counted > client.messages.count_tokens(model="demo", messages=SEEN).input_tokens + 20
        none: Any = {"type": "none"}
        assert client.messages.count_tokens(**asked, tool_choice=none).input_tokens < counted


def test_the_demo_streams_what_it_sees(demo_client: anthropic.Anthropic) -> None:
    with demo_client.messages.stream(model="demo", max_tokens=100, messages=SEEN) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == SHAPES  # type: ignore[union-attr]
    assert final.stop_reason == "end_turn"


def test_an_answer_that_is_cut_says_so(demo_client: anthropic.Anthropic) -> None:
    assert demo_client.messages.create(model="demo", max_tokens=2, messages=SEEN).stop_reason == "max_tokens"


@pytest.mark.parametrize("through_a_worker", [False, True])
def test_the_stop_sequence_that_ended_the_answer_is_named(demo: Running, through_a_worker: bool) -> None:
    with ExitStack() as stack:
        if through_a_worker:
            remote = connect(f"{demo.url}/v1", "demo", Path("/no/keys"))
            demo = stack.enter_context(serving(remote, model="demo"))
        client = stack.enter_context(connected(demo))
        asked: Any = {"model": "demo", "max_tokens": 100, "messages": SEEN, "extra_body": {"temperature": 0}}
        message = client.messages.create(**asked, stop_sequences=["no such", "star", " and"])
        assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "star")
        assert message.content[0].text == "A red circle, a blue "  # type: ignore[union-attr]
        with client.messages.stream(**asked, stop_sequences=[" and"]) as stream:
            final = stream.get_final_message()
        assert (final.stop_reason, final.stop_sequence) == ("stop_sequence", " and")
        message = client.messages.create(**asked, stop_sequences=["no such"])
        assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)


class Count(BaseModel):
    count: int


def test_the_demo_answers_by_a_class(demo_client: anthropic.Anthropic) -> None:
    message = demo_client.messages.parse(model="demo", max_tokens=100, messages=SEEN, output_format=Count)
    assert isinstance(message.parsed_output, Count)


def test_events_come_in_the_official_order(client: anthropic.Anthropic, engine: FakeEngine) -> None:
    engine.answers = ["Two words"]
    events = list(client.messages.create(model="fake", max_tokens=9, messages=HELLO, stream=True))
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start, delta = events[0], events[-2]
    assert start.type == "message_start" and delta.type == "message_delta"
    assert start.message.usage.input_tokens == 1
    assert start.message.content == [] and start.message.stop_reason is None
    assert (delta.delta.stop_reason, delta.usage.output_tokens) == ("end_turn", 2)


def test_all_that_is_asked_reaches_the_engine(client: anthropic.Anthropic, engine: FakeEngine) -> None:
    engine.answers = ["Yes."]
    client.messages.create(
        model="fake", max_tokens=9, stop_sequences=["END"], extra_body={"temperature": 0.7, "top_p": 0.9, "top_k": 5,
                                                                       "thread": {"type": "create"}},
        system=[{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}],
        metadata={"user_id": "me"},
        thinking={"type": "disabled"},
        output_config={"format": {"type": "json_schema", "schema": {"type": "string"}}},
        messages=[
            {"role": "user", "content": [picture(png(5, 5), "image/jpeg"), {"type": "text", "text": "What?"},
                                         {"type": "image", "source": {"type": "url", "url": data_url(png(3, 3))}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": ""},
                                              {"type": "text", "text": "Squares."}]},
            {"role": "user", "content": "Sure?"},
        ],
    )  # fmt: skip
    messages, sampling = engine.seen[0]
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[0].text == "Be kind."
    assert [part if isinstance(part, str) else part.size for part in messages[1].parts] == [(5, 5), "What?", (3, 3)]
    assert (messages[2].text, messages[2].reasoning) == ("Squares.", "hm")
    assert sampling == Sampling(0.7, 0.9, None, ("END",), 9, {"type": "string"}, top_k=5)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 11}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": ""}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]},
         "messages.0.content.0.tool_use_id"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"tools": [{"name": "a", "input_schema": {"type": "objekt"}}]}, "tools.0.input_schema"),
        ({"system": "x", "messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]},
         "messages.0.content.0"),
        ({"system": "x", "messages": [{"role": "user", "content": [
            {"type": "text", "text": "a"}, {"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}}]}]},
         "messages.0.content.1.source"),
        ({"messages": [{"role": "user", "content": [picture(b"no picture")]}]}, "messages.0.content.0.source"),
        ({"messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "text/html", "data": "aaaa"}}]}]},
         "messages.0.content.0.source.media_type"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
         "messages.0.content.0.source"),
        ({"messages": [{"role": "assistant", "content": [picture(png())]}, *HELLO]}, "messages.0.content.0"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "objekt"}}}}, "output_config.format"),
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"no_such": 1}, "no_such"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(
    client: anthropic.Anthropic, engine: FakeEngine, fields: dict[str, Any], named: str
) -> None:
    with pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.create(model="fake", max_tokens=9, messages=HELLO, extra_body=fields)
    body: Any = refused.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert named in body["error"]["message"]
    assert not engine.seen


def test_max_tokens_and_model_are_wanted(running: Running) -> None:
    with running.client as http:
        for missing, body in (("max_tokens", {"model": "fake"}), ("model", {"max_tokens": 3})):
            reply = http.post("/v1/messages", json={"messages": HELLO, **body})
            assert reply.status_code == 400
            assert missing in reply.json()["error"]["message"]


def test_errors_are_of_the_clients_classes(engine: FakeEngine) -> None:
    with serving(engine, rules=AccessRules(api_key="the-key")) as running:
        with connected(running, "wrong") as client, pytest.raises(anthropic.AuthenticationError):
            client.messages.create(model="fake", max_tokens=9, messages=HELLO)
        with connected(running, "the-key") as client:
            engine.answers = ["yes"]
            client.messages.create(model="fake", max_tokens=9, messages=HELLO)
            with pytest.raises(anthropic.NotFoundError, match="fake"):
                client.messages.create(model="claude", max_tokens=9, messages=HELLO)
            engine.answers = [ContextError("The prompt takes 2,000 tokens, the context window is 1,000")] * 2
            with pytest.raises(anthropic.BadRequestError, match="2,000"):
                client.messages.create(model="fake", max_tokens=9, messages=HELLO)
    with serving(engine, alive=lambda: False) as running, connected(running) as client:
        with pytest.raises(anthropic.APIStatusError, match="not ready") as busy:
            client.messages.create(model="fake", max_tokens=9, messages=HELLO)
        assert busy.value.status_code == 529


def test_an_error_in_the_middle_of_a_stream_is_raised(client: anthropic.Anthropic, engine: FakeEngine) -> None:
    def breaking() -> Iterator[str]:
        yield "so "
        raise NetworkError("the engine died")

    engine.answers = [breaking()]  # type: ignore[list-item]
    with pytest.raises(anthropic.APIStatusError, match="the engine died"):
        list(client.messages.create(model="fake", max_tokens=9, messages=HELLO, stream=True))


def test_models_are_listed(client: anthropic.Anthropic) -> None:
    assert [model.id for model in client.models.list()] == ["fake"]
    assert client.models.retrieve("fake").created_at.year >= 2026
