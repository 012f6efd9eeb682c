"""The stated limits of a request are exact: at the limit it is answered, one above it is refused and the field named."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pixtral_cli.images.image import Image
from pixtral_cli.server.openai import response_schema
from tests.fakes import Agreeing, FakeEngine
from tests.server.serving import Running, picture, png, serving


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(Agreeing(), body_limit=64_000_000) as running:
        yield running


def called(count: int, *, name: str = "f", key: str = "c{}", arguments: Any = "{}") -> list[dict[str, Any]]:
    """A conversation with one answer of so many calls, and their results."""
    calls = [{"id": key.format(n), "function": {"name": name, "arguments": arguments}} for n in range(count)]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "r"} for call in calls]
    return [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": calls}, *results]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def tool(name: str = "f", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


def answer_format(name: str) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": {"type": "object"}}}


def said(*content: Any, role: str = "user", **more: Any) -> list[Any]:
    return [{"role": role, "content": list(content), **more}, {"role": "user", "content": "q"}]


TEXT = {"type": "text", "text": "t"}
FEW, MANY = {str(n): 1 for n in range(64)}, {str(n): 1 for n in range(65)}

# The field, what is taken, what is not.
EXACT: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "temperature": ({"temperature": 10}, {"temperature": 10.01}),
    "temperature from": ({"temperature": 0}, {"temperature": -0.01}),
    "top_p": ({"top_p": 1}, {"top_p": 1.01}),
    "top_p from": ({"top_p": 0.001}, {"top_p": 0}),
    "top_k": ({"top_k": 2**31}, {"top_k": 2**31 + 1}),
    "top_k from": ({"top_k": -1}, {"top_k": -2}),
    "min_p": ({"min_p": 1}, {"min_p": 1.01}),
    "min_p from": ({"min_p": 0}, {"min_p": -0.01}),
    "repetition_penalty": ({"repetition_penalty": 100}, {"repetition_penalty": 100.1}),
    "repetition_penalty from": ({"repetition_penalty": 0.01}, {"repetition_penalty": 0.009}),
    "frequency_penalty": ({"frequency_penalty": 2}, {"frequency_penalty": 2.01}),
    "frequency_penalty from": ({"frequency_penalty": -2}, {"frequency_penalty": -2.01}),
    "presence_penalty": ({"presence_penalty": 2}, {"presence_penalty": 2.01}),
    "presence_penalty from": ({"presence_penalty": -2}, {"presence_penalty": -2.01}),
    "max_tokens": ({"max_tokens": 2**63 - 1}, {"max_tokens": 2**63}),
    "max_tokens from": ({"max_tokens": 1}, {"max_tokens": 0}),
    "max_completion_tokens from": ({"max_completion_tokens": 1}, {"max_completion_tokens": 0}),
    "seed": ({"seed": 2**63 - 1}, {"seed": 2**63}),
    "seed from": ({"seed": -(2**63)}, {"seed": -(2**63) - 1}),
    "random_seed": ({"random_seed": 2**63 - 1}, {"random_seed": 2**63}),
    "n": ({"n": 32}, {"n": 33}),
    "n from": ({"n": 1}, {"n": 0}),
    "logit_bias": ({"logit_bias": {"5": 100}}, {"logit_bias": {"5": 100.1}}),
    "logit_bias from": ({"logit_bias": {"5": -100}}, {"logit_bias": {"5": -100.1}}),
    "logit_bias so many": (
        {"logit_bias": {str(n): 1 for n in range(10_000)}}, {"logit_bias": {str(n): 1 for n in range(10_001)}},
    ),
    "logit_bias of a token": ({"logit_bias": {"9" * 9: 1}}, {"logit_bias": {"9" * 10: 1}}),
    "top_logprobs": ({"logprobs": True, "top_logprobs": 20}, {"logprobs": True, "top_logprobs": 21}),
    "stop": ({"stop": "s" * 256}, {"stop": "s" * 257}),
    "stop of a list": ({"stop": ["s" * 256]}, {"stop": ["s" * 257]}),
    "stop so many": ({"stop": ["s"] * 16}, {"stop": ["s"] * 17}),
    "stop from": ({"stop": "s"}, {"stop": ""}),
    "user": ({"user": "u" * 512}, {"user": "u" * 513}),
    "metadata": ({"metadata": FEW}, {"metadata": MANY}),
    "metadata so deep": ({"metadata": nested(64)}, {"metadata": nested(65)}),
    "metadata with a number": ({"metadata": {"a": 10**300 - 1}}, {"metadata": {"a": 10**300}}),
    "tools": ({"tools": [tool(f"f{n}") for n in range(128)]}, {"tools": [tool(f"f{n}") for n in range(129)]}),
    "tools.0.function.name": ({"tools": [tool("f" * 64)]}, {"tools": [tool("f" * 65)]}),
    "tools.0.function.description": (
        {"tools": [tool(description="d" * 4_000_000)]}, {"tools": [tool(description="d" * 4_000_001)]},
    ),
    "response_format.json_schema.name": (
        {"response_format": answer_format("n" * 64)}, {"response_format": answer_format("n" * 65)},
    ),
    "messages": ({"messages": said()[1:] * 2_000}, {"messages": said()[1:] * 2_001}),
    "messages.0.content": (
        {"messages": [{"role": "user", "content": "x" * 4_000_000}]},
        {"messages": [{"role": "user", "content": "x" * 4_000_001}]},
    ),
    "messages.0.content of parts": ({"messages": said(*[TEXT] * 512)}, {"messages": said(*[TEXT] * 513)}),
    "messages.0.content of a system message": (
        {"messages": said(*[TEXT] * 512, role="system")}, {"messages": said(*[TEXT] * 513, role="system")},
    ),
    "messages.0.content of an answer": (
        {"messages": said(*[TEXT] * 512, role="assistant")}, {"messages": said(*[TEXT] * 513, role="assistant")},
    ),
    "messages.0.name": ({"messages": said(TEXT, name="n" * 512)}, {"messages": said(TEXT, name="n" * 513)}),
    "messages.1.tool_calls": ({"messages": called(128)}, {"messages": called(129)}),
    "messages.1.tool_calls.0.function.name": (
        {"messages": called(1, name="f" * 64)}, {"messages": called(1, name="f" * 65)},
    ),
    "messages.1.tool_calls.0.id": (
        {"messages": called(1, key="c" * 256)}, {"messages": called(1, key="c" * 257)},
    ),
    "messages.1.tool_calls.0.function.arguments": (
        {"messages": called(1, arguments=nested(64))}, {"messages": called(1, arguments=nested(65))},
    ),
    "messages.1.tool_calls.0.function.arguments as text": (
        {"messages": called(1, arguments=json.dumps(nested(64)))},
        {"messages": called(1, arguments=json.dumps(nested(65)))},
    ),
}  # fmt: skip


@pytest.mark.parametrize("field", EXACT)
def test_at_a_limit_a_request_is_answered_and_beyond_it_refused(running: Running, field: str) -> None:
    taken, refused = EXACT[field]
    assert (reply := running.ask(**taken)).status_code == 200, reply.text[:300]
    reply = running.ask(**refused)
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")
    assert reply.json()["error"]["param"].startswith(field.partition(" ")[0])


@pytest.mark.parametrize("number", [1e400, float("nan"), -1e400])
def test_a_number_that_is_none_is_refused_wherever_it_stands(running: Running, number: float) -> None:
    value = str(number).replace("inf", "1e400").replace("nan", "NaN")
    for field in ("temperature", "metadata"):
        given = value if field == "temperature" else f'{{"a": [{value}]}}'
        body = f'{{"messages": [{{"role": "user", "content": "q"}}], "{field}": {given}}}'
        assert running.post(body.encode()).status_code == 400


def test_128_images_are_answered_and_one_more_is_refused(running: Running) -> None:
    assert running.ask([picture()] * 128).status_code == 200
    reply = running.ask([picture()] * 129)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "too_many_images")
    assert "128 images, 16 of them by URL" in reply.json()["error"]["message"]


def images(count: int, width: int = 1, height: int = 1) -> tuple[Image, ...]:
    return tuple(Image(png(), "a.png", "PNG", width, height, "0" * 64) for _ in range(count))


def test_sixteen_images_of_a_request_are_fetched_and_one_more_is_refused() -> None:
    fetched: list[str] = []
    with serving(Agreeing(), load=lambda url: fetched.append(url) or images(1)) as running:
        for scheme in ("http", "HTTPS"):
            url = f"{scheme}://example.org/a.png"
            assert running.ask([picture(url)] * 16).status_code == 200
            assert running.ask([picture(url)] * 17).json()["error"]["code"] == "too_many_images"
    assert len(fetched) == 32


@pytest.mark.parametrize(("pages", "status"), [(128, 200), (129, 400)])
def test_the_pages_of_documents_count_as_images(pages: int, status: int) -> None:
    with serving(Agreeing(), load=lambda url: images(pages)) as running:
        assert running.ask([picture()]).status_code == status


@pytest.mark.parametrize(("width", "status"), [(25_600, 200), (25_601, 400)])
def test_512_million_pixels_in_all_are_answered_and_more_are_refused(width: int, status: int) -> None:
    with serving(Agreeing(), load=lambda url: images(1, width, 10_000)) as running:
        reply = running.ask([picture()] * 2)
        assert reply.status_code == status, reply.text


def answer_schema(size: int) -> dict[str, Any]:
    """A schema of which the JSON text has so many characters."""
    schema: dict[str, Any] = {"type": "object", "description": ""}
    schema["description"] = "d" * (size - len(json.dumps(schema)))
    return schema


@pytest.mark.parametrize(("size", "status"), [(40_000, 200), (40_001, 400)])
def test_a_schema_of_40_kb_is_taken_and_a_larger_one_refused(running: Running, size: int, status: int) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": answer_schema(size)}}
    assert running.ask(response_format=wanted).status_code == status


@pytest.mark.parametrize(("size", "status"), [(200_000, 200), (200_001, 400)])
def test_the_schemas_of_tools_have_400_kb_together(running: Running, size: int, status: int) -> None:
    tools = [tool("f", parameters=answer_schema(200_000)), tool("g", parameters=answer_schema(size))]
    reply = running.ask(tools=tools)
    assert reply.status_code == status
    assert status == 200 or "larger than 400 kB" in reply.json()["error"]["message"]


def test_a_body_of_100_000_values_is_read_and_one_more_refused(running: Running) -> None:
    """Commas, brackets and braces count: each value but the first follows one."""
    start = '{"messages": [{"role": "user", "content": "q"}], "metadata": {"a": ['
    for more, status in ((0, 200), (1, 400)):
        count = 100_000 - sum(map(start.count, ",[{")) + more
        reply = running.post(f"{start}1{',1' * count}]}}}}".encode())
        assert reply.status_code == status
    assert reply.json()["error"]["code"] == "too_many_values"


# Conversations that contradict themselves


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (
            {"tools": [tool()], "tool_choice": "required",
             "messages": [*said(TEXT), {"role": "assistant", "content": "So", "prefix": True}]},
            "messages.2.prefix",
        ),
        ({"messages": called(2, key="same")}, "messages.1.tool_calls.1.id"),
        ({"messages": called(2)[:3]}, "messages.1.tool_calls"),
        ({"messages": [*called(2)[:3], {"role": "user", "content": "q"}]}, "messages.1.tool_calls"),
    ],
)  # fmt: skip
def test_a_conversation_that_contradicts_itself_names_the_place(
    running: Running, fields: dict[str, Any], param: str
) -> None:
    reply = running.ask(**fields)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_an_answer_is_continued_where_no_call_is_asked_for(running: Running, choice: str) -> None:
    messages = [*said(TEXT), {"role": "assistant", "content": "So", "prefix": True}]
    assert running.ask(messages=messages, tools=[tool()], tool_choice=choice).status_code == 200


def test_a_picture_in_a_result_is_shown_before_the_answer_that_follows() -> None:
    engine = FakeEngine(["yes"])
    messages = called(1)
    messages[2]["content"] = [picture()]
    messages += [{"role": "assistant", "content": "a"}, {"role": "user", "content": "q"}]
    with serving(engine) as running:
        assert running.ask(messages=messages).status_code == 200
    shown = engine.seen[0][0]
    assert [message.role for message in shown] == ["user", "assistant", "tool", "user", "assistant", "user"]
    assert [len(message.images) for message in shown] == [0, 0, 0, 1, 0, 0]


def test_a_model_that_is_not_served_is_not_found(running: Running) -> None:
    with running.client as client:
        assert client.get("/v1/models/fake").status_code == 200
        reply = client.get("/v1/models/other")
    assert (reply.status_code, reply.json()["error"]["param"]) == (404, "model")


@pytest.mark.parametrize(("compiling", "status"), [(3, 200), (4, 503)])
def test_four_large_schemas_are_compiled_at_a_time(
    running: Running, monkeypatch: pytest.MonkeyPatch, compiling: int, status: int
) -> None:
    monkeypatch.setattr(response_schema, "_compiling", compiling)
    monkeypatch.setattr(response_schema, "compile_schema", lambda schema, cancelled=None: None)
    large = {"type": "array", "items": {}, "maxItems": 2_000}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": large}}
    reply = running.ask(response_format=wanted)
    assert reply.status_code == status
    assert status == 200 or int(reply.headers["Retry-After"]) > 0
