"""The official clients of OpenAI and Mistral, unchanged but for host and model, and the vendor's own request."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError
from mistralai.client.models import AssistantMessage, ImageURLChunk, SystemMessage, TextChunk, UserMessage

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.errors import ContextError, NetworkError
from pixtral_cli.server.http.access import AccessRules
from tests.fakes import FakeEngine
from tests.server.processes import until
from tests.server.serving import Running, data_url, png, serving

KEY = "the-key"
MODEL = "pixtral-12b-2409"


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def running(engine: FakeEngine) -> Iterator[Running]:
    with serving(
        engine, model="pixtral-12b", aliases=(MODEL,), rules=AccessRules(api_key=KEY), window=lambda: 1000
    ) as running:
        yield running


@pytest.fixture
def theirs(running: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key=KEY, max_retries=0, timeout=120) as client:
        yield client


@pytest.fixture
def mistral(running: Running) -> Iterator[Mistral]:
    with Mistral(server_url=running.url, api_key=KEY, timeout_ms=120_000) as client:
        yield client


TALK: Any = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url(), "detail": "high"}},
                                 {"type": "text", "text": "What is this?"},
                                 {"type": "image_url", "image_url": {"url": data_url(png(5, 5))}}]},
    {"role": "assistant", "content": "Two pictures."},
    {"role": "user", "content": "Are you sure?"},
]  # fmt: skip


def check_heard(engine: FakeEngine) -> None:
    """The conversation came through with its images in their places."""
    heard, _ = engine.seen[-1]
    assert [message.role for message in heard] == ["system", "user", "assistant", "user"]
    assert [part if isinstance(part, str) else part.size for part in heard[1].parts] == [
        (2, 1),
        "What is this?",
        (5, 5),
    ]


# OpenAI's


def test_openai_whole(theirs: openai.OpenAI, engine: FakeEngine) -> None:
    engine.answers = ["Yes, I am."]
    answer = theirs.chat.completions.create(
        model=MODEL, messages=TALK, temperature=0.7, top_p=0.9, seed=5, stop=["END"], max_tokens=9, n=1, user="me"
    )
    assert answer.choices[0].message.content == "Yes, I am."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    check_heard(engine)
    assert engine.seen[0][1] == Sampling(0.7, 0.9, 5, ("END",), 9)


@pytest.mark.parametrize("usage", [True, False])
def test_openai_streaming(theirs: openai.OpenAI, engine: FakeEngine, usage: bool) -> None:
    engine.answers = ["Yes, I am."]
    chunks = list(
        theirs.chat.completions.create(
            model=MODEL, messages=TALK, stream=True, max_completion_tokens=9, stream_options={"include_usage": usage}
        )
    )
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(piece or "" for piece in pieces) == "Yes, I am."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    told = [chunk.usage for chunk in chunks if chunk.usage]
    assert bool(told) is usage
    assert not usage or (chunks[-1].choices == [] and told[-1].completion_tokens == 3)
    check_heard(engine)


def test_openai_streaming_helper_and_an_answer_sent_back(theirs: openai.OpenAI, engine: FakeEngine) -> None:
    engine.answers = ["Yes, I am.", "Quite."]
    with theirs.chat.completions.stream(model=MODEL, messages=TALK) as stream:
        first = stream.get_final_completion().choices[0].message
    assert first.content == "Yes, I am."
    again = [*TALK, first.model_dump(), {"role": "user", "content": "Really?"}]
    theirs.chat.completions.create(model=MODEL, messages=again)
    assert engine.seen[-1][0][-2].text == "Yes, I am."


def test_openai_lists_models(theirs: openai.OpenAI) -> None:
    assert [model.id for model in theirs.models.list()] == ["pixtral-12b", MODEL]
    assert theirs.models.retrieve(MODEL).owned_by == "pixtral"


def test_openai_errors(theirs: openai.OpenAI, running: Running, engine: FakeEngine) -> None:
    hello: Any = [{"role": "user", "content": "hello"}]
    with pytest.raises(openai.NotFoundError, match="pixtral-12b, pixtral-12b-2409") as missing:
        theirs.chat.completions.create(model="gpt-4o", messages=hello)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as hot:
        theirs.chat.completions.create(model=MODEL, messages=hello, temperature=11)
    assert (hot.value.param, hot.value.type) == ("temperature", "invalid_request_error")
    with pytest.raises(openai.BadRequestError) as shape:
        theirs.chat.completions.create(model=MODEL, messages=hello, response_format={"type": "json_schema"})  # type: ignore[call-overload]
    assert shape.value.param == "response_format.json_schema"
    engine.answers = [ContextError("The prompt takes 2,000 tokens, the context window is 1,000")]
    with pytest.raises(openai.BadRequestError, match="2,000") as long:
        theirs.chat.completions.create(model=MODEL, messages=hello, stream=True)
    assert long.value.code == "context_length_exceeded"
    engine.answers = [NetworkError("gone")]
    with pytest.raises(openai.InternalServerError):
        theirs.chat.completions.create(model=MODEL, messages=hello)
    with pytest.raises(openai.AuthenticationError):
        theirs.with_options(api_key="wrong").models.list()


def test_openai_sees_an_error_in_the_middle_of_a_stream(theirs: openai.OpenAI, engine: FakeEngine) -> None:
    def breaking() -> Iterator[str]:
        yield "so "
        raise NetworkError("the engine died")

    engine.answers = [breaking()]  # type: ignore[list-item]
    stream = theirs.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "?"}], stream=True)
    with pytest.raises(openai.APIError, match="the engine died"):
        list(stream)


def test_openai_sees_a_bug_in_the_middle_of_a_stream(
    theirs: openai.OpenAI, running: Running, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    def breaking() -> Iterator[str]:
        yield "so "
        raise KeyError("at 0x7f00deadbeef in /root/secret.py")

    engine.answers = [breaking()]  # type: ignore[list-item]
    stream = theirs.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "?"}], stream=True)
    with pytest.raises(openai.APIError, match=r"^The server failed\.$") as caught:
        list(stream)
    assert caught.value.code == "internal_error"
    until(lambda: "An error in pixtral itself: KeyError" in caplog.text)
    with running.client as client:
        text = client.get("/metrics", headers={"Authorization": f"Bearer {KEY}"}).text
    assert "pixtral_stream_errors_total 1" in text


# Mistral's

MISTRAL: Any = [
    SystemMessage(content="Be kind."),
    UserMessage(content=[ImageURLChunk(image_url=data_url()), TextChunk(text="What is this?"),
                         ImageURLChunk(image_url={"url": data_url(png(5, 5))})]),  # type: ignore[arg-type]
    AssistantMessage(content="Two pictures."),
    UserMessage(content="Are you sure?"),
]  # fmt: skip


def test_mistral_whole(mistral: Mistral, engine: FakeEngine) -> None:
    engine.answers = ["Yes, I am."]
    answer = mistral.chat.complete(
        model=MODEL, messages=MISTRAL, temperature=0.7, random_seed=5, stop="END", max_tokens=9, safe_prompt=False
    )
    assert answer.choices
    assert answer.choices[0].message
    assert answer.choices[0].message.content == "Yes, I am."
    assert answer.usage.completion_tokens == 3
    check_heard(engine)
    assert engine.seen[0][1] == Sampling(0.7, 1.0, 5, ("END",), 9)


def test_mistral_streaming(mistral: Mistral, engine: FakeEngine) -> None:
    engine.answers = ["Yes, I am."]
    events = list(mistral.chat.stream(model=MODEL, messages=MISTRAL))
    assert "".join(str(event.data.choices[0].delta.content or "") for event in events) == "Yes, I am."
    assert events[-1].data.choices[0].finish_reason == "stop"
    assert events[-1].data.usage
    assert events[-1].data.usage.completion_tokens == 3
    check_heard(engine)


def test_mistral_lists_models_and_finds_those_that_see(mistral: Mistral) -> None:
    listed: Any = mistral.models.list().data
    assert [model.id for model in listed] == ["pixtral-12b", MODEL]
    assert listed[0].capabilities.vision
    assert listed[0].max_context_length == 1000


def test_mistral_errors(mistral: Mistral) -> None:
    with pytest.raises(SDKError) as missing:
        mistral.chat.complete(model="mistral-large", messages=[UserMessage(content="hello")])
    assert missing.value.status_code == 404


# The vendor's documented request, and what else people send


def test_the_vendors_request_works_with_only_host_and_model_changed(running: Running, engine: FakeEngine) -> None:
    engine.answers = ["A thing."]
    request = """
    {
      "model": "pixtral-12b-2409",
      "messages": [
        {
          "role": "user",
          "content": [
            {"type": "text", "text": "What's in this image?"},
            {"type": "image_url", "image_url": "DATA"}
          ]
        }
      ],
      "max_tokens": 300
    }
    """.replace("DATA", data_url())
    response = running.post(request.encode(), Authorization=f"Bearer {KEY}")
    assert response.json()["choices"][0]["message"]["content"] == "A thing."
    assert [type(part).__name__ for part in engine.seen[0][0][0].parts] == ["str", "Image"]
    assert engine.seen[0][1].max_tokens == 300


def test_a_public_url_is_fetched_by_the_server(engine: FakeEngine) -> None:
    from pixtral_cli import images

    engine.answers = ["A thing."]
    asked: list[str] = []

    def load(url: str) -> list[images.Image]:
        asked.append(url)
        return [images.from_bytes(png(), "x.png")]

    with serving(engine, load=load) as running:
        content = [{"type": "image_url", "image_url": {"url": "https://example.com/x.png"}}]
        assert running.ask(content).status_code == 200
    assert asked == ["https://example.com/x.png"]


def test_the_key_is_required_everywhere_but_for_health(running: Running) -> None:
    with running.client as client:
        assert client.get("/health").status_code == 200
        for path in ("/v1/models", "/metrics", "/v1/status", "/openapi.json", "/v1/chat/completions"):
            response = client.get(path)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
            assert response.headers["www-authenticate"] == "Bearer"
        assert client.get("/v1/models", headers={"Authorization": f"bearer {KEY}"}).status_code == 200
        for wrong in ("", KEY, f"Basic {KEY}", f"Bearer {KEY}x", "Bearer \xff"):
            headers = {"Authorization": wrong.encode("latin-1")}
            assert client.get("/v1/models", headers=headers).status_code == 401  # type: ignore[arg-type]


def test_the_status_is_its_owners_alone(engine: FakeEngine) -> None:
    with serving(engine) as running, running.client as client:
        assert client.get("/v1/status").status_code == 404


def test_metrics_count(engine: FakeEngine) -> None:
    engine.answers = ["one two", "three"]
    with serving(engine) as running, running.client as client:
        running.ask("hello there")
        running.ask("hello", stream=True)
        running.ask("hello", n=0)
        engine.answers = [ValueError("a bug")]
        running.ask("hello")
        lines = client.get("/metrics").text.splitlines()
    assert client.is_closed
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert values['pixtral_requests_total{status="200"}'] == "2"
    assert values['pixtral_requests_total{status="400"}'] == "1"
    assert values['pixtral_requests_total{status="500"}'] == "1"
    assert values["pixtral_prompt_tokens_total"] == "3"
    assert values["pixtral_completion_tokens_total"] == "3"
    assert values["pixtral_engine_up"] == "1"


def test_measure_counts_without_asking(engine: FakeEngine) -> None:
    with serving(engine) as running, running.client as client:
        body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url()}}]}]}
        cost = client.post("/v1/measure", json=body).json()
    assert cost == {"prompt_tokens": 10, "context_window": 1000, "images": [{"width": 2, "height": 1, "tokens": 10}]}
    assert not engine.seen


def test_events_hold_no_line_break_or_control_character_of_an_answer(engine: FakeEngine) -> None:
    text = 'a\n\ndata: {"x"}\r\u2028\u0085\x1b[2J"\ud83d\ude00é'.encode("utf-16", "surrogatepass").decode("utf-16")
    engine.answers = [[text]]
    with serving(engine) as running:
        response = running.ask(stream=True)
    events = [line.removeprefix("data: ") for line in response.content.decode("ascii").split("\n\n") if line]
    assert events[-1] == "[DONE]"
    assert "".join(c["delta"].get("content", "") for e in events[:-1] for c in json.loads(e)["choices"]) == text


def test_a_picture_that_was_checked_is_not_checked_again() -> None:
    from pixtral_cli.server.openai.requests import make_image_loader

    load = make_image_loader(urls=False)
    first = load(data_url(png(7, 7)))
    assert load(data_url(png(7, 7))) is first
    assert [image.size for image in load(data_url(png(7, 8)))] == [(7, 8)]
