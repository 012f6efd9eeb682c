"""Ollama's API by Ollama's client: on pictures with the demo model, streamed and whole, and what is refused."""

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.errors import NetworkError
from pixtral_cli.server.http.access import AccessRules
from tests.fakes import FakeEngine
from tests.server.processes import ROOT
from tests.server.serving import Running, data_url, png, serving
from tests.server.shapes.conftest import SHAPES, TALLEST, example


@pytest.fixture
def client(running: Running) -> ollama.Client:
    return ollama.Client(host=running.url, timeout=120)


@pytest.fixture
def demo_client(demo: Running) -> ollama.Client:
    return ollama.Client(host=demo.url, timeout=120)


SEEN: Any = [{"role": "user", "content": "What is in the image?", "images": [example("shapes.png")]}]
HELLO: Any = [{"role": "user", "content": "hello"}]


def test_the_demo_sees_a_picture_and_goes_on(demo_client: ollama.Client) -> None:
    first = demo_client.chat("demo", SEEN)
    assert first.message.content == SHAPES
    assert (first.done, first.done_reason, first.model) == (True, "stop", "demo")
    assert first.prompt_eval_count and first.prompt_eval_count > 200
    assert first.eval_count and first.total_duration and first.eval_duration
    second = demo_client.chat("demo:latest", [*SEEN, first.message, {"role": "user", "content": "How many shapes?"}])
    assert second.message.content


def test_the_demo_streams_what_it_sees(demo_client: ollama.Client) -> None:
    parts = list(demo_client.chat("demo", SEEN, stream=True))
    assert "".join(part.message.content or "" for part in parts) == SHAPES
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].done_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_the_demo_answers_a_prompt(demo_client: ollama.Client, stream: bool) -> None:
    picture = ROOT / "examples" / "bars.png"
    answer: Any = demo_client.generate("demo", "Which bar is the tallest?", images=[str(picture)], stream=stream)
    parts = list(answer) if stream else [answer]
    assert "".join(part.response for part in parts) == TALLEST
    assert parts[-1].done_reason == "stop"


def test_the_demo_answers_by_a_schema(demo_client: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"tall": {"type": "boolean"}}, "required": ["tall"]}
    answer = demo_client.chat("demo", SEEN, format=schema, options={"num_predict": 30})
    assert isinstance(json.loads(answer.message.content or "")["tall"], bool)


def test_a_stream_is_sent_when_the_request_does_not_say(running: Running, engine: FakeEngine) -> None:
    """As Ollama's documentation has it: curl sends no JSON media type."""
    engine.answers = ["Two words"]
    with running.client as http:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        body = b'{"model": "fake", "messages": [{"role": "user", "content": "hi"}]}'
        reply = http.post("/api/chat", content=body, headers=form)
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert len(reply.text.splitlines()) == 3


def test_all_that_is_asked_reaches_the_engine(client: ollama.Client, engine: FakeEngine) -> None:
    engine.answers = ["Yes.", "No."]
    options = {"temperature": 0.7, "top_p": 0.9, "seed": 5, "stop": ["END"], "num_predict": 9, "num_ctx": 4096,
               "top_k": 5, "min_p": 0.1, "repeat_penalty": 1.1, "presence_penalty": 0.5, "frequency_penalty": 0.25}  # fmt: skip
    talk = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "What?", "images": [png(5, 5), b64encode(png(3, 3)).decode()]},
        {"role": "assistant", "content": "Squares.", "thinking": "hm"},
        {"role": "user", "content": "Sure?"},
    ]
    client.chat("fake", talk, options=options, format={"type": "string"}, keep_alive="10m", think=False)
    messages, sampling = engine.seen[0]
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert [part if isinstance(part, str) else part.size for part in messages[1].parts] == [(5, 5), (3, 3), "What?"]
    assert messages[2].reasoning == "hm"
    assert sampling == Sampling(
        0.7, 0.9, 5, ("END",), 9, {"type": "string"}, top_k=5, min_p=0.1, repetition_penalty=1.1, presence_penalty=0.5,
        frequency_penalty=0.25,
    )  # fmt: skip
    client.generate("fake", "What?", system="Be kind.", images=[png(5, 5)], options={"num_predict": -1}, format="json")
    messages, sampling = engine.seen[1]
    assert [(message.role, message.text, len(message.images)) for message in messages] == [
        ("system", "Be kind.", 0),
        ("user", "What?", 1),
    ]
    assert (sampling.max_tokens, sampling.schema) == (None, {"type": "object"})


def test_pictures_by_data_url_are_taken(running: Running, engine: FakeEngine) -> None:
    engine.answers = ["Yes."]
    with running.client as http:
        assert http.post("/api/generate", json={"model": "fake", "images": [data_url()]}).status_code == 200
    assert len(engine.seen[0][0][0].images) == 1


def test_a_request_without_a_question_loads(client: ollama.Client, engine: FakeEngine) -> None:
    assert client.chat("fake").done_reason == "load"
    loaded = client.generate("fake", keep_alive=-1)
    assert (loaded.done_reason, loaded.response, loaded.done) == ("load", "", True)
    assert not engine.seen


def test_the_model_is_described(client: ollama.Client, running: Running) -> None:
    assert [model.model for model in client.list().models] == ["fake:latest"]
    assert [model.context_length for model in client.ps().models] == [1000]
    for name in ("fake", "fake:latest"):
        shown = client.show(name)
        assert shown.capabilities == ["completion", "vision", "tools"]
        assert shown.modelinfo and shown.modelinfo["pixtral.context_length"] == 1000
    with running.client as http:
        version = http.get("/api/version").json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)
    with pytest.raises(ollama.ResponseError, match="fake") as missing:
        client.show("llava")
    assert missing.value.status_code == 404


@pytest.mark.parametrize(
    ("path", "fields", "named"),
    [
        ("chat", {"options": {"temperature": -1}}, "options.temperature"),
        ("chat", {"options": {"mirostat": 2}}, "options.mirostat"),
        ("chat", {"format": "xml"}, "format"),
        ("chat", {"format": {"type": "objekt"}}, "format"),
        ("chat", {"messages": [{"role": "user", "content": "a", "images": ["/etc/passwd"]}]}, "messages.0.images.0"),
        ("chat", {"messages": [{"role": "assistant", "content": "a"}]}, "messages.0.role"),
        ("chat", {"messages": [{"role": "tool", "content": "a"}]}, "messages.0"),
        ("chat", {"messages": [{"role": "system", "images": [data_url()]}, *HELLO]}, "messages.0.images"),
        ("generate", {"images": ["not base64!"]}, "images.0"),
        ("generate", {"raw": True}, "raw"),
        ("generate", {"suffix": "x"}, "suffix"),
        ("generate", {"template": "x"}, "template"),
        ("generate", {"context": [1, 2]}, "context"),
    ],
)
def test_what_is_refused_is_named(
    running: Running, engine: FakeEngine, path: str, fields: dict[str, Any], named: str
) -> None:
    question = {"messages": HELLO} if path == "chat" else {"prompt": "hello"}
    with running.client as http:
        reply = http.post(f"/api/{path}", json={"model": "fake", **question, **fields})
    assert reply.status_code == 400
    assert named in reply.json()["error"]
    assert not engine.seen


def test_errors_are_of_the_clients_class(engine: FakeEngine) -> None:
    with serving(engine, rules=AccessRules(api_key="the-key")) as running:
        with pytest.raises(ollama.ResponseError, match="API key") as refused:
            ollama.Client(host=running.url).chat("fake", HELLO)
        assert refused.value.status_code == 401
        engine.answers = ["yes"]
        known = ollama.Client(host=running.url, headers={"Authorization": "Bearer the-key"})
        assert known.chat("fake", HELLO).message.content == "yes"
        with pytest.raises(ollama.ResponseError, match="fake") as missing:
            known.chat("llava", HELLO)
        assert missing.value.status_code == 404


def test_an_error_in_the_middle_of_a_stream_is_raised(client: ollama.Client, engine: FakeEngine) -> None:
    def breaking() -> Iterator[str]:
        yield "so "
        raise NetworkError("the engine died")

    engine.answers = [breaking()]  # type: ignore[list-item]
    with pytest.raises(ollama.ResponseError, match="the engine died"):
        list(client.chat("fake", HELLO, stream=True))


def test_an_unknown_path_lists_the_known_ones(running: Running) -> None:
    with running.client as http:
        assert "/api/chat" in http.post("/api/embed").json()["error"]
