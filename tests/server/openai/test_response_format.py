"""`response_format`: the official clients' structured answers, OpenAI's errors, and an engine that holds to the schema."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from mistralai.client import Mistral
from mistralai.client.models import UserMessage
from pydantic import BaseModel

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.remote.client import ApiClient
from pixtral_cli.engines.remote.engine import RemoteEngine
from pixtral_cli.engines.remote.errors import parse_endpoint
from pixtral_cli.structured.schema import parse, validate
from tests.engines.local.checkpoints import build
from tests.fakes import FakeEngine
from tests.server.serving import Running, data_url, serving

HELLO: Any = [{"role": "user", "content": "Read the chart."}]
TABLE = parse("bars[colour:red|blue, value:int]")
TABLE["properties"]["bars"] |= {"minItems": 1, "maxItems": 3}


class Bar(BaseModel):
    colour: Literal["red", "blue"]
    value: int


class Bars(BaseModel):
    title: str | None
    bars: list[Bar]


BARS = '{"title": null, "bars": [{"colour": "red", "value": 3}]}'


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine([BARS])


@pytest.fixture
def running(engine: FakeEngine) -> Iterator[Running]:
    with serving(engine) as running:
        yield running


@pytest.fixture
def theirs(running: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="any", max_retries=0, timeout=120) as client:
        yield client


@pytest.fixture
def mistral(running: Running) -> Iterator[Mistral]:
    with Mistral(server_url=running.url, api_key="any", timeout_ms=120_000) as client:
        yield client


def wanted(schema: Any, **more: Any) -> Any:
    return {"type": "json_schema", "json_schema": {"name": "table", "schema": schema, "strict": True, **more}}


def check_bars(engine: FakeEngine) -> None:
    """The engine was handed the schema that the client made of the classes."""
    _, sampling = engine.seen[-1]
    assert sampling.schema
    assert list(sampling.schema["properties"]) == ["title", "bars"]
    assert validate(BARS, sampling.schema)


def test_openai_parses_into_classes(theirs: openai.OpenAI, engine: FakeEngine) -> None:
    answer = theirs.chat.completions.parse(model="fake", messages=HELLO, response_format=Bars)
    assert answer.choices[0].message.parsed == Bars(title=None, bars=[Bar(colour="red", value=3)])
    check_bars(engine)


def test_openai_streams_into_classes(theirs: openai.OpenAI, engine: FakeEngine) -> None:
    with theirs.chat.completions.stream(model="fake", messages=HELLO, response_format=Bars) as stream:
        kinds = [event.type for event in stream]
        last = stream.get_final_completion()
    assert kinds.count("content.delta") > 1
    assert last.choices[0].message.parsed == Bars(title=None, bars=[Bar(colour="red", value=3)])
    check_bars(engine)


def test_mistral_parses_into_classes(mistral: Mistral, engine: FakeEngine) -> None:
    answer = mistral.chat.parse(response_format=Bars, model="fake", messages=[UserMessage(content="Read the chart.")])
    assert answer.choices and answer.choices[0].message
    assert answer.choices[0].message.parsed == Bars(title=None, bars=[Bar(colour="red", value=3)])
    check_bars(engine)


def test_mistral_streams_a_json_object(mistral: Mistral, engine: FakeEngine) -> None:
    said = [UserMessage(content="Read the chart.")]
    events = mistral.chat.stream(model="fake", messages=said, response_format={"type": "json_object"})
    assert "".join(str(event.data.choices[0].delta.content or "") for event in events) == BARS
    assert engine.seen[-1][1].schema == {"type": "object"}


@pytest.mark.parametrize(
    ("given", "schema"),
    [
        ({"type": "text"}, None),
        (None, None),
        ({"type": "text", "json_schema": None}, None),
        ({"type": "json_object"}, {"type": "object"}),
        (wanted({"type": "array", "items": {}}), {"type": "array", "items": {}}),
        (wanted({"enum": ["a"]}, description="one of them", strict=False), {"enum": ["a"]}),
        ({"type": "json_schema", "json_schema": {"name": "any"}}, {"type": "object"}),
    ],
)
def test_what_is_taken_reaches_the_engine(running: Running, engine: FakeEngine, given: Any, schema: Any) -> None:
    assert running.ask(response_format=given).status_code == 200
    assert engine.seen[-1][1].schema == schema


SCHEMA = "response_format.json_schema"
BAD = "invalid_json_schema"


@pytest.mark.parametrize(
    ("given", "param", "code", "why"),
    [
        ({"type": "json_schema"}, SCHEMA, "missing_required_parameter", "Missing required parameter"),
        ({"type": "xml"}, "response_format.type", "invalid_value", "'text', 'json_object' or 'json_schema'"),
        ({"type": "json_schema", "json_schema": {"schema": {}}}, f"{SCHEMA}.name", "invalid_value", "required"),
        (wanted({}, name="no spaces"), f"{SCHEMA}.name", "invalid_value", "pattern"),
        (wanted([]), f"{SCHEMA}.schema", "invalid_value", "object"),
        (wanted({}, strikt=True), f"{SCHEMA}.strikt", "unknown_parameter", "Unrecognized"),
        (wanted({"type": "objekt"}), "response_format", BAD, "no JSON schema at type"),
        (wanted({"$ref": "http://169.254.169.254/"}), "response_format", BAD, "only its own parts"),
        (wanted({"$ref": "#"}), "response_format", BAD, "refers to itself without end"),
        (wanted({"not": {}}), "response_format", BAD, 'Unimplemented keys: ["not"]'),
        (wanted({"enum": ["x" * 40_000]}), "response_format", BAD, "larger than 40 kB"),
        (wanted({"type": "string", "pattern": "("}), "response_format", BAD, "is not a 'regex'"),
        (wanted({"type": "integer", "multipleOf": 1_000_003}), "response_format", BAD, "multipleOf is over 20,000"),
    ],
)
def test_what_is_refused_is_named(
    running: Running, engine: FakeEngine, given: Any, param: str, code: str, why: str
) -> None:
    for path in ("chat", "measure"):
        with running.client as client:
            url = "/v1/chat/completions" if path == "chat" else "/v1/measure"
            response = client.post(url, json={"messages": HELLO, "response_format": given})
        error = response.json()["error"]
        assert (response.status_code, error["type"]) == (400, "invalid_request_error")
        assert (error["param"], error["code"]) == (param, code)
        assert why in error["message"]
    assert not engine.seen


def test_a_schema_that_would_take_for_ever_does_not(running: Running) -> None:
    """Forty definitions, each twice the next: a check that followed every path would not end."""
    twice = {f"d{place}": {"allOf": [{"$ref": f"#/$defs/d{place + 1}"}] * 2} for place in range(40)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**twice, "d40": {"type": "integer"}}}
    assert running.ask(response_format=wanted(schema)).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_would_say_anything_says_what_the_schema_allows(tmp_path: Path, stream: bool) -> None:
    engine = LocalEngine(build(tmp_path, seed=3), name="fake", device="cpu", dtype="fp32")
    content = [{"type": "image_url", "image_url": {"url": data_url()}}, {"type": "text", "text": "Read it."}]
    said: Any = [{"role": "user", "content": content}]
    with serving(engine) as running, openai.OpenAI(base_url=f"{running.url}/v1", api_key="any") as client:
        ask = client.chat.completions.create
        how: Any = {"model": "fake", "messages": said, "response_format": wanted(TABLE), "temperature": 2, "seed": 2}
        text, reason = _told(ask(**how, stream=stream), stream)
        assert reason == "stop"
        assert 1 <= len(validate(text, TABLE)["bars"]) <= 3
        cut, reason = _told(ask(**how, stream=stream, max_tokens=5), stream)
        assert reason == "length"
        assert text.startswith(cut)
        with pytest.raises(json.JSONDecodeError):
            json.loads(cut)


def test_the_same_answer_through_a_server_as_without_and_the_schema_stated_once(tmp_path: Path) -> None:
    engine = LocalEngine(build(tmp_path, seed=3), name="fake", device="cpu", dtype="fp32")
    said, how = [user("Read it.")], Sampling(1.0, seed=5, schema=TABLE)
    alone = list(engine.stream(said, how))
    with serving(engine) as running:
        far = RemoteEngine(ApiClient(parse_endpoint(running.url)), "fake")
        through = list(far.stream(said, how))
        far.close()
    assert "".join(chunk.text for chunk in through) == "".join(chunk.text for chunk in alone)
    assert through[-1].usage and alone[-1].usage
    assert through[-1].usage.prompt_tokens == alone[-1].usage.prompt_tokens


def _told(answer: Any, stream: bool) -> tuple[str, str]:
    if not stream:
        return answer.choices[0].message.content, answer.choices[0].finish_reason
    choices = [chunk.choices[0] for chunk in answer if chunk.choices]
    return "".join(choice.delta.content or "" for choice in choices), choices[-1].finish_reason
