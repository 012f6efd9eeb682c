"""OpenAI's Responses API by OpenAI's client: on pictures with the demo model, event by event, and what is refused."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.errors import NetworkError
from tests.fakes import FakeEngine
from tests.server.serving import Running, data_url, png
from tests.server.shapes.conftest import SHAPES, example_url


@pytest.fixture
def client(running: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="any", max_retries=0, timeout=120) as client:
        yield client


@pytest.fixture
def demo_client(demo: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{demo.url}/v1", api_key="any", max_retries=0, timeout=120) as client:
        yield client


SEEN: Any = [
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "What is in the image?"},
            {"type": "input_image", "image_url": example_url("shapes.png"), "detail": "auto"},
        ],
    }
]


def test_the_demo_sees_a_picture_and_goes_on(demo_client: openai.OpenAI) -> None:
    first = demo_client.responses.create(model="demo", input=SEEN)
    assert first.output_text == SHAPES
    assert (first.status, first.store, first.previous_response_id) == ("completed", False, None)  # type: ignore[attr-defined]
    assert first.usage
    assert first.usage.input_tokens > 200
    assert first.usage.total_tokens == first.usage.input_tokens + first.usage.output_tokens
    talk = [*SEEN, *first.output, {"role": "user", "content": "How many shapes are there?"}]
    second = demo_client.responses.create(model="demo", input=talk)
    assert second.output_text == "Three."
    assert second.usage
    assert second.usage.input_tokens_details.cached_tokens > 200


def test_the_demo_streams_what_it_sees(demo_client: openai.OpenAI) -> None:
    with demo_client.responses.stream(model="demo", input=SEEN) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert text == final.output_text == SHAPES


class Shapes(BaseModel):
    count: int


def test_the_demo_answers_by_a_class(demo_client: openai.OpenAI) -> None:
    response = demo_client.responses.parse(model="demo", input=SEEN, text_format=Shapes)
    assert isinstance(response.output_parsed, Shapes)


EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


def test_events_come_in_the_official_order_and_are_numbered(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.answers = ["Two words"]
    events = list(client.responses.create(model="fake", input="hello", stream=True))
    assert [event.type for event in events] == EVENTS
    assert [event.sequence_number for event in events] == list(range(len(EVENTS)))
    first, last = events[0], events[-1]
    assert first.type == "response.created" and last.type == "response.completed"
    assert first.response.status == "in_progress"
    assert first.response.output == []
    assert first.response.usage is None
    assert last.response.output_text == "Two words"
    assert first.response.id == last.response.id
    items = {event.item_id for event in events if event.type == "response.output_text.delta"}
    assert items == {last.response.output[0].id}


def test_every_field_of_the_reply_is_as_the_client_declares_it(running: Running, engine: FakeEngine) -> None:
    engine.answers = ["Two words"]
    with running.client as http:
        reply = http.post("/v1/responses", json={"input": "hello", "instructions": "Be kind.", "metadata": {"a": "b"}})
    parsed = Response.model_validate(reply.json(), strict=True)
    assert parsed.instructions == "Be kind."
    assert parsed.metadata == {"a": "b"}


def test_all_that_is_asked_reaches_the_engine(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.answers = ["Yes."]
    client.responses.create(
        model="fake",
        instructions="Be kind.",
        input=[
            {"role": "developer", "content": "Be short."},
            {"role": "user", "content": [{"type": "input_image", "image_url": data_url(png(5, 5)), "detail": "low"},
                                         {"type": "input_text", "text": "What is this?"}]},
            {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
             "content": [{"type": "output_text", "text": "A square.", "annotations": []}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"role": "user", "content": "Sure?"},
        ],
        temperature=0.7, top_p=0.9, max_output_tokens=9, store=False, truncation="disabled",
        text={"format": {"type": "json_schema", "name": "one", "schema": {"type": "string"}, "strict": True}},
    )  # fmt: skip
    messages, sampling = engine.seen[0]
    assert [(message.role, message.text, len(message.images)) for message in messages] == [
        ("system", "Be kind.", 0),
        ("system", "Be short.", 0),
        ("user", "What is this?", 1),
        ("assistant", "A square.", 0),
        ("user", "Sure?", 0),
    ]
    assert sampling == Sampling(0.7, 0.9, None, (), 9, {"type": "string"})


def test_an_answer_that_is_cut_is_incomplete(demo_client: openai.OpenAI) -> None:
    response = demo_client.responses.create(model="demo", input=SEEN, max_output_tokens=2)
    assert response.status == "incomplete"
    assert response.incomplete_details and response.incomplete_details.reason == "max_output_tokens"
    events = list(demo_client.responses.create(model="demo", input=SEEN, max_output_tokens=2, stream=True))
    assert events[-1].type == "response.incomplete"


def test_an_error_in_the_middle_of_a_stream_fails_the_response(client: openai.OpenAI, engine: FakeEngine) -> None:
    def breaking() -> Iterator[str]:
        yield "so "
        raise NetworkError("the engine died")

    engine.answers = [breaking()]  # type: ignore[list-item]
    *_, error, last = client.responses.create(model="fake", input="?", stream=True)
    assert error.type == "error" and error.message == "the engine died"
    assert last.type == "response.failed" and last.response.error
    assert (last.response.status, last.response.error.message) == ("failed", "the engine died")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"input": []}, "input"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.0"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input.0.content.0"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
         "input.0.content.0.image_url"),
        ({"input": [{"role": "assistant", "content": "mine"}]}, "input.0.role"),
        ({"instructions": "x", "input": [{"role": "user", "content": [
            {"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "file:///etc/passwd"}]}]},
         "input.0.content.1.image_url"),
        ({"input": [{"role": "system", "content": [{"type": "input_image", "image_url": data_url()}]}]},
         "input.0.content.0"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "objekt"}}}}, "text.format"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"input": [{"type": "function_call_output", "call_id": "x", "output": ""}]}, "input.0.call_id"),
        ({"no_such": 1}, "no_such"),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(
    client: openai.OpenAI, engine: FakeEngine, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="fake", input="hello", extra_body=fields)
    assert refused.value.param == param
    assert not engine.seen


def test_another_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="fake"):
        client.responses.create(model="gpt-4o", input="hello")
