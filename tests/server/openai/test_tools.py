"""Tools over HTTP: the official clients against the demo, which never learned to call one and is held to valid calls."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from jsonschema import validate  # type: ignore[import-untyped]
from mistralai.client import Mistral

from pixtral_cli.chat.engine import Chunk, Sampling, Timings, Usage
from pixtral_cli.chat.message import user
from pixtral_cli.chat.tools import NamedTool, Tool, ToolCallCollector, ToolCallDelta
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.remote.client import ApiClient
from pixtral_cli.engines.remote.engine import RemoteEngine
from pixtral_cli.engines.remote.errors import parse_endpoint
from pixtral_cli.models import names
from tests.fakes import FakeEngine
from tests.server.serving import Running, data_url, serving

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"enum": ["Paris", "Rome", "Oslo"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
        "unit": {"$ref": "#/$defs/unit"},
    },
    "required": ["city", "days", "unit"],
    "additionalProperties": False,
    "$defs": {"unit": {"enum": ["celsius", "kelvin"]}},
}
LOOK = {
    "type": "object",
    "properties": {"link": {"type": "string", "format": "uri", "maxLength": 12}},
    "required": ["link"],
}
TOOLS: Any = [
    {"type": "function", "function": {"name": "get_weather", "description": "Weather.", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "look", "parameters": LOOK}},
]
SCHEMAS = {"get_weather": WEATHER, "look": LOOK}
ASKED: Any = [{"role": "user", "content": "What is the weather in Rome?"}]
NAMED: Any = {"type": "function", "function": {"name": "get_weather"}}
CALLED: Any = [
    *ASKED,
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "call_with_a_long_id_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}},
        {"id": "call_with_a_long_id_2", "type": "function", "function": {"name": "look", "arguments": "{}"}},
    ]},
    {"role": "tool", "tool_call_id": "call_with_a_long_id_2", "content": "nothing"},
    {"role": "tool", "tool_call_id": "call_with_a_long_id_1", "content": [{"type": "text", "text": "sunny"}]},
]  # fmt: skip


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    engine = LocalEngine(names.resolve("demo").folder, name="demo", device="cpu")
    with serving(engine, model="demo", defaults=Sampling(temperature=0)) as running:
        yield running
    engine.close()


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0, timeout=300) as client:
        yield client


def check_calls(calls: Any) -> list[str]:
    """Every call's arguments satisfy its tool's schema; returns the tools' names."""
    assert len({call.id for call in calls}) == len(calls)
    for call in calls:
        validate(json.loads(call.function.arguments), SCHEMAS[call.function.name])
    return [call.function.name for call in calls]


# The demo, held to calls


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_a_named_tool_is_called_with_valid_arguments(client: openai.OpenAI, temperature: float) -> None:
    answer = client.chat.completions.create(
        model="demo", messages=ASKED, tools=TOOLS, tool_choice=NAMED, temperature=temperature, seed=3
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert check_calls(choice.message.tool_calls) == ["get_weather"]


@pytest.mark.parametrize("parallel", [True, False])
def test_a_required_call_is_made(client: openai.OpenAI, parallel: bool) -> None:
    answer = client.chat.completions.create(
        model="demo",
        messages=ASKED,
        tools=TOOLS,
        tool_choice="required",
        parallel_tool_calls=parallel,
        temperature=1.5,
        seed=1,
    )
    called = check_calls(answer.choices[0].message.tool_calls)
    assert called
    assert parallel or len(called) == 1


def test_a_stream_of_calls_is_the_whole_call_in_pieces(client: openai.OpenAI) -> None:
    how: Any = {"model": "demo", "messages": ASKED, "tools": TOOLS, "tool_choice": NAMED}
    whole = client.chat.completions.create(**how).choices[0].message.tool_calls or []
    pieces, reasons, numbers = [], [], []
    for chunk in client.chat.completions.create(**how, stream=True):
        entries = [call.index for choice in chunk.choices for call in choice.delta.tool_calls or ()]
        assert len(entries) == len(set(entries)), "each entry of a chunk is a call of its own to some clients"
        choice = chunk.choices[0]
        reasons += [choice.finish_reason] if choice.finish_reason else []
        for piece in choice.delta.tool_calls or ():
            pieces.append(piece.function.arguments if piece.function else "")
            numbers += [(piece.index, piece.id, piece.function.name)] if piece.id and piece.function else []
    assert [(index, name) for index, _, name in numbers] == [(0, "get_weather")]
    assert "".join(piece or "" for piece in pieces) == whole[0].function.arguments
    assert len(pieces) > 3
    assert reasons == ["tool_calls"]


def test_the_clients_own_stream_helper_reads_them(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="demo", messages=ASKED, tools=TOOLS, tool_choice="required", parallel_tool_calls=False
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    assert check_calls(message.tool_calls)


@pytest.mark.parametrize("choice", ["auto", "none", None])
def test_text_is_text_where_the_model_makes_no_call(client: openai.OpenAI, choice: Any) -> None:
    fields = {} if choice is None else {"tool_choice": choice}
    answer = client.chat.completions.create(model="demo", messages=ASKED, tools=TOOLS, max_tokens=30, **fields)
    assert answer.choices[0].message.content
    assert answer.choices[0].message.tool_calls is None


def test_log_probabilities_are_of_the_contents_tokens_and_a_call_has_none(client: openai.OpenAI) -> None:
    """As OpenAI describes them: "a list of message content tokens with log probability information"."""
    how: Any = {"model": "demo", "messages": ASKED, "tools": TOOLS, "logprobs": True, "top_logprobs": 2}
    called = client.chat.completions.create(**how, tool_choice=NAMED).choices[0]
    assert called.message.tool_calls
    assert called.logprobs is None
    said = client.chat.completions.create(**how, tool_choice="none").choices[0]
    assert said.logprobs
    assert said.logprobs.content
    assert "".join(one.token for one in said.logprobs.content) == said.message.content
    pieces = [
        piece
        for chunk in client.chat.completions.create(**how, tool_choice=NAMED, stream=True)
        for piece in chunk.choices
    ]
    assert any(piece.delta.tool_calls for piece in pieces)
    assert not any(piece.logprobs for piece in pieces)


def test_a_call_cut_off_is_reported_as_such(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="demo", messages=ASKED, tools=TOOLS, tool_choice=NAMED, max_tokens=25)
    assert answer.choices[0].finish_reason == "length"
    call = (answer.choices[0].message.tool_calls or [])[0]
    assert call.function.name == "get_weather"  # type: ignore[union-attr]
    assert WEATHER and call.function.arguments.startswith("{")  # type: ignore[union-attr]


def test_several_choices_each_call(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo", messages=ASKED, tools=TOOLS, tool_choice=NAMED, n=3, temperature=1.5, seed=1
    )
    assert [check_calls(choice.message.tool_calls) for choice in answer.choices] == [["get_weather"]] * 3


def test_results_in_the_history_are_answered(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="demo", messages=CALLED, tools=TOOLS, max_tokens=20)
    assert answer.usage
    assert answer.usage.prompt_tokens > 200


def test_a_call_can_be_sent_back_as_it_came(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="demo", messages=ASKED, tools=TOOLS, tool_choice=NAMED)
    message = answer.choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls or ()]
    again: Any = [*ASKED, message.model_dump(), *results]
    assert client.chat.completions.create(model="demo", messages=again, tools=TOOLS, max_tokens=9).choices


def test_mistrals_client_forces_a_call_on_a_picture(running: Running) -> None:
    with Mistral(server_url=running.url, api_key="x", timeout_ms=300_000) as client:
        content: Any = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": data_url()}]
        answer = client.chat.complete(
            model="demo", messages=[{"role": "user", "content": content}], tools=TOOLS, tool_choice="any",
            parallel_tool_calls=False,
        )  # fmt: skip
        assert answer.choices[0].finish_reason == "tool_calls"
        message = answer.choices[0].message
        calls = (message and message.tool_calls) or []
        assert check_calls(calls)
        named: Any = {"type": "function", "function": {"name": "look"}}
        events = client.chat.stream(
            model="demo", messages=[{"role": "user", "content": "hi"}], tools=TOOLS, tool_choice=named
        )
        pieces = [piece for event in events for piece in event.data.choices[0].delta.tool_calls or ()]
        assert pieces[0].function.name == "look"
        assert json.loads("".join(str(piece.function.arguments) for piece in pieces))


# What reaches the engine


def test_the_conversation_reaches_the_engine_with_its_calls() -> None:
    engine = FakeEngine(["one"])
    with serving(engine) as running, openai.OpenAI(base_url=f"{running.url}/v1", api_key="x") as client:
        client.chat.completions.create(model="fake", messages=CALLED, tools=TOOLS, tool_choice=NAMED)
    heard, sampling = engine.seen[0]
    assert [message.role for message in heard] == ["user", "assistant", "tool", "tool"]
    assert [(call.id, call.name, call.arguments) for call in heard[1].tool_calls] == [
        ("call_with_a_long_id_1", "get_weather", '{"city": "Rome"}'), ("call_with_a_long_id_2", "look", "{}"),
    ]  # fmt: skip
    assert [(message.tool_call_id, message.name, message.text) for message in heard[2:]] == [
        ("call_with_a_long_id_2", "look", "nothing"), ("call_with_a_long_id_1", "get_weather", "sunny"),
    ]  # fmt: skip
    assert [tool.name for tool in sampling.tools] == ["get_weather", "look"]
    assert sampling.tools[0] == Tool("get_weather", "Weather.", WEATHER)
    assert sampling.tool_choice == NamedTool("get_weather")


class Calling:
    """Answers with two calls in pieces, after some text."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, Sampling]] = []

    def stream(self, messages: Any, sampling: Sampling) -> Iterator[Chunk]:
        self.seen.append((tuple(messages), sampling))
        yield Chunk("Let me see.")
        for index, name in enumerate(("get_weather", "look")):
            yield Chunk(tool_calls=(ToolCallDelta(index, f"id{index}", name),))
            for piece in ('{"a"', ": ", "1}"):
                yield Chunk(tool_calls=(ToolCallDelta(index, arguments=piece),))
        yield Chunk("", "tool_calls", Usage(1, 2), Timings())

    def measure(self, messages: object, tools: object = ()) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        pass


def test_calls_pass_through_a_server_to_the_engine_behind_it() -> None:
    engine = Calling()
    tools = (Tool("get_weather", "Weather.", WEATHER), Tool("look", "", LOOK))
    sampling = Sampling(0.5, tools=tools, tool_choice=NamedTool("look"), parallel_tool_calls=False)
    with serving(engine) as running:
        remote = RemoteEngine(ApiClient(parse_endpoint(running.url)), "fake")
        chunks = list(remote.stream([user("hi")], sampling))
    calls = ToolCallCollector()
    for chunk in chunks:
        calls.add(chunk.tool_calls)
    assert [(call.id, call.name, call.arguments) for call in calls.calls] == [
        ("id0", "get_weather", '{"a": 1}'), ("id1", "look", '{"a": 1}'),
    ]  # fmt: skip
    assert "".join(chunk.text for chunk in chunks) == "Let me see."
    assert chunks[-1].finish_reason == "tool_calls"
    assert engine.seen[0][1] == sampling


# Bad input


def refusal(**fields: Any) -> tuple[int, str]:
    engine = FakeEngine([])
    with serving(engine) as running, running.client as client:
        body = {"messages": ASKED, **fields}
        reply = client.post("/v1/chat/completions", json=body)
    assert not engine.seen
    return reply.status_code, reply.json()["error"]["param"]


def tool(**function: Any) -> list[dict[str, Any]]:
    return [{"type": "function", "function": function}]


def calling(arguments: Any = "{}", number: str = "a", **more: Any) -> dict[str, Any]:
    call = {"id": number, "type": "function", "function": {"name": "look", "arguments": arguments}}
    return {"role": "assistant", "tool_calls": [call], **more}


def result(number: str = "a") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": number, "content": "x"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": tool(description="no name")}, "tools.0.function.name"),
        ({"tools": tool(name="")}, "tools.0.function.name"),
        ({"tools": tool(name="two words")}, "tools.0.function.name"),
        ({"tools": [*tool(name="a"), *tool(name="a")]}, "tools.1.function.name"),
        ({"tools": [one for n in range(1000) for one in tool(name=f"t{n}")]}, "tools"),
        ({"tools": tool(name="a", parameters={"type": "array"})}, "tools.0.function.parameters"),
        ({"tools": tool(name="a", parameters={"type": "object", "properties": 5})}, "tools.0.function.parameters"),
        ({"tools": tool(name="a", parameters={"$ref": "https://example.com/x"})}, "tools.0.function.parameters"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": "always"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice.function.name"),
    ],
)  # fmt: skip
def test_senseless_tools_are_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refusal(**fields) == (400, param)


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ([calling("{not json"), result()], "messages.1.tool_calls.0.function.arguments"),
        ([calling("[1]"), result()], "messages.1.tool_calls.0.function.arguments"),
        ([calling('{"a": NaN}'), result()], "messages.1.tool_calls.0.function.arguments"),
        ([calling(), result("b")], "messages.2.tool_call_id"),
        ([result()], "messages.1.tool_call_id"),
        ([calling(), result(), result()], "messages.3.tool_call_id"),
        ([calling()], "messages.1.role"),
        ([calling(), *ASKED], "messages.1.tool_calls"),
        ([calling(), {"role": "tool", "content": "x", "name": "another"}], "messages.2.tool_call_id"),
        ([calling('{"a": 1e999}'), result()], "messages.1.tool_calls.0.function.arguments"),
        ([calling('{"a":' * 90 + "1" + "}" * 90), result()], "messages.1.tool_calls.0.function.arguments"),
        ([{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "look"}}]}, result()],
         "messages.1.tool_calls.0.function.arguments"),
    ],
)  # fmt: skip
def test_senseless_calls_and_results_are_refused_by_name(said: list[Any], param: str) -> None:
    assert refusal(messages=[*ASKED, *said]) == (400, param)
