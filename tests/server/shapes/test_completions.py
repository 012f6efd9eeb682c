"""OpenAI's older completions by OpenAI's client, with the demo model and with queued answers."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from pixtral_cli.errors import NetworkError
from tests.fakes import FakeEngine
from tests.server.serving import Running

WHO = "I am the Pixtral demo"


@pytest.fixture
def client(running: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="any", max_retries=0, timeout=120) as client:
        yield client


@pytest.mark.parametrize("stream", [False, True])
def test_the_demo_answers_a_prompt(demo: Running, stream: bool) -> None:
    with openai.OpenAI(base_url=f"{demo.url}/v1", api_key="any", max_retries=0, timeout=120) as client:
        answer: Any = client.completions.create(model="demo", prompt="Who are you?", max_tokens=100, stream=stream)
        chunks = list(answer) if stream else [answer]
    assert "".join(chunk.choices[0].text for chunk in chunks).startswith(WHO)
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"


def test_sixteen_tokens_are_the_bound_unless_one_is_given(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.answers = ["one", "two", "three"]
    for limit in ({}, {"max_tokens": 5}, {"max_tokens": -1}):
        client.completions.create(model="fake", prompt="hello", **limit)  # type: ignore[call-overload]
    assert [sampling.max_tokens for _, sampling in engine.seen] == [16, 5, None]


def test_each_of_several_prompts_is_completed(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.answers = ["one one", "two"]
    answer = client.completions.create(model="fake", prompt=["a", "b c"], temperature=0.5, stop="END", top_p=0.9)
    assert [(choice.index, choice.text, choice.finish_reason) for choice in answer.choices] == [
        (0, "one one", "stop"),
        (1, "two", "stop"),
    ]
    assert answer.usage and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 3)
    assert [messages[0].text for messages, _ in engine.seen] == ["a", "b c"]
    assert engine.seen[1][1].stop == ("END",)


def test_several_prompts_are_streamed_one_after_the_other(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.answers = ["one one", "two"]
    chunks = list(
        client.completions.create(model="fake", prompt=["a", "b"], stream=True, stream_options={"include_usage": True})
    )
    pieces = [(chunk.choices[0].index, chunk.choices[0].text) for chunk in chunks if chunk.choices]
    assert pieces == [(0, "one "), (0, "one"), (0, ""), (1, "two"), (1, "")]
    assert chunks[-1].choices == [] and chunks[-1].usage and chunks[-1].usage.completion_tokens == 3


def test_an_error_in_the_middle_of_a_stream_is_raised(client: openai.OpenAI, engine: FakeEngine) -> None:
    engine.answers = ["one", NetworkError("the engine died")]
    with pytest.raises(openai.APIError, match="the engine died"):
        list(client.completions.create(model="fake", prompt=["a", "b"], stream=True))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"n": 2}, "n"),
        ({"best_of": 2}, "best_of"),
        ({"logprobs": 3}, "logprobs"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, 2]}, "prompt.0"),
        ({"stop": [""]}, "stop.0"),
        ({"top_k": -5}, "top_k"),
        ({"temperature": 11}, "temperature"),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_what_is_refused_is_named(
    client: openai.OpenAI, engine: FakeEngine, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="fake", prompt="hello", extra_body=fields)
    assert refused.value.param == param
    assert not engine.seen
