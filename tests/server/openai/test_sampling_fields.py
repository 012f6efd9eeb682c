"""Sampling parameters and several choices over HTTP: the official client, the demo, and the engine behind another server."""

import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from pixtral_cli.chat.engine import Chunk, Sampling, Timings, TokenLogprob, Usage
from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.remote.client import ApiClient
from pixtral_cli.engines.remote.engine import RemoteEngine
from pixtral_cli.engines.remote.errors import parse_endpoint
from pixtral_cli.engines.remote.wire_format import build_request
from pixtral_cli.errors import UsageError
from pixtral_cli.models import names
from tests.fakes import FakeEngine
from tests.server.serving import Running, serving

ASKED: Any = [{"role": "user", "content": "Say something."}]
ALL = Sampling(
    0.5, 0.9, 7, ("END",), 50, None, 40, 0.05, 1.1, 0.5, -0.5, {3: -100.0, 12: 2.5}, 4, 2,
)  # fmt: skip


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    engine = LocalEngine(names.resolve("demo").folder, name="demo", device="cpu")
    with serving(engine, model="demo", defaults=Sampling(temperature=0)) as running:
        yield running
    engine.close()


@pytest.fixture(scope="module")
def client(running: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0, timeout=120) as client:
        yield client


def test_every_parameter_reaches_the_engine() -> None:
    engine = FakeEngine(["one"])
    fields = {
        "temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": "END", "max_tokens": 50, "top_k": 40, "min_p": 0.05,
        "repetition_penalty": 1.1, "frequency_penalty": 0.5, "presence_penalty": -0.5,
        "logit_bias": {"3": -100, "12": 2.5}, "logprobs": True, "top_logprobs": 4, "n": 2,
    }  # fmt: skip
    with serving(engine) as running:
        assert running.ask(**fields).status_code == 200
    assert engine.seen[0][1] == ALL


def test_values_that_change_nothing_are_taken() -> None:
    engine = FakeEngine(["one"])
    fields = {"top_k": -1, "min_p": 0, "repetition_penalty": 1, "frequency_penalty": 0, "presence_penalty": 0.0,
              "logit_bias": {}, "logprobs": False, "top_logprobs": 0, "n": 1}  # fmt: skip
    with serving(engine) as running:
        assert running.ask(**fields).status_code == 200
    assert engine.seen[0][1] == Sampling()


def test_the_demo_gives_several_choices_and_their_usage_once(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="demo", messages=ASKED, n=3, temperature=1.0, seed=5, max_tokens=6, logprobs=True, top_logprobs=2
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage
    counted = 0
    for choice in answer.choices:
        assert choice.logprobs
        assert choice.logprobs.content
        counted += len(choice.logprobs.content)
        told = b"".join(bytes(one.bytes or ()) for one in choice.logprobs.content)
        assert told.decode(errors="replace") == choice.message.content
        assert all(len(one.top_logprobs) == 2 for one in choice.logprobs.content)
    assert answer.usage.completion_tokens == counted


def test_a_stream_of_choices_is_the_whole_answer_in_pieces(client: openai.OpenAI) -> None:
    how: Any = {"model": "demo", "messages": ASKED, "n": 2, "temperature": 1.0, "seed": 9, "max_tokens": 8}
    whole = client.chat.completions.create(**how, logprobs=True)
    texts, told, reasons, roles = ["", ""], [0, 0], ["", ""], ["", ""]
    usages = []
    for chunk in client.chat.completions.create(
        **how, logprobs=True, stream=True, stream_options={"include_usage": True}
    ):
        usages += [chunk.usage] if chunk.usage else []
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            roles[choice.index] += choice.delta.role or ""
            reasons[choice.index] += choice.finish_reason or ""
            told[choice.index] += len((choice.logprobs and choice.logprobs.content) or ())
    assert texts == [choice.message.content for choice in whole.choices]
    assert roles == ["assistant", "assistant"]
    assert reasons == [choice.finish_reason for choice in whole.choices]
    assert told == [
        len(choice.logprobs.content) for choice in whole.choices if choice.logprobs and choice.logprobs.content
    ]
    assert [used.completion_tokens for used in usages] == [whole.usage and whole.usage.completion_tokens]


def test_a_banned_token_does_not_come(client: openai.OpenAI, running: Running) -> None:
    engine = LocalEngine(names.resolve("demo").folder, name="demo")
    usual = client.chat.completions.create(model="demo", messages=ASKED, max_tokens=1, logprobs=True)
    assert usual.choices[0].logprobs
    first = usual.choices[0].logprobs.content or []
    data = bytes(first[0].bytes or ())
    token = next(one for one in range(engine.params.vocab_size) if engine.tokenizer.bytes_of(one) == data)
    other = client.chat.completions.create(
        model="demo", messages=ASKED, max_tokens=1, logprobs=True, logit_bias={str(token): -100}
    )
    assert other.choices[0].logprobs
    assert (other.choices[0].logprobs.content or [])[0].bytes != list(data)
    assert math.exp((other.choices[0].logprobs.content or [])[0].logprob) < math.exp(first[0].logprob)


def test_a_bias_for_a_token_that_is_not_there_is_refused(running: Running) -> None:
    reply = running.ask(logit_bias={"99999": 1}, model="demo")
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "logit_bias"
    assert "99999" in reply.json()["error"]["message"]


# The engine behind another server


class Numbered:
    """Answers with its numbers, the later ones first."""

    def stream(self, messages: object, sampling: Sampling) -> Iterator[Chunk]:
        for index in reversed(range(sampling.n)):
            one = TokenLogprob(b"\xff", -1.5, (TokenLogprob(b"a", -0.5),))
            yield Chunk(f"answer {index}", logprobs=(one,) if sampling.logprobs is not None else (), index=index)
        for index in range(sampling.n):
            last = index == sampling.n - 1
            yield Chunk("", "stop", Usage(3, 5) if last else None, Timings(total=1) if last else None, index=index)

    def measure(self, messages: object, tools: object = ()) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        pass


def test_choices_and_log_probabilities_pass_through_a_server() -> None:
    with serving(Numbered()) as running:
        engine = RemoteEngine(ApiClient(parse_endpoint(running.url)), "fake")
        chunks = list(engine.stream([user("hi")], Sampling(n=3, logprobs=1)))
    for index in range(3):
        ours = [chunk for chunk in chunks if chunk.index == index]
        assert "".join(chunk.text for chunk in ours) == f"answer {index}"
        assert [one for chunk in ours for one in chunk.logprobs] == [
            TokenLogprob(b"\xff", -1.5, (TokenLogprob(b"a", -0.5),))
        ]
        assert ours[-1].finish_reason == "stop"
    assert chunks[-1].usage == Usage(3, 5)


def test_every_parameter_is_sent_on() -> None:
    engine = FakeEngine(["one"])
    with serving(engine) as running:
        remote = RemoteEngine(ApiClient(parse_endpoint(running.url)), "fake")
        with pytest.raises(Exception, match="ended in the middle"):  # the fake has one answer, not two
            list(remote.stream([user("hi")], ALL))
    assert engine.seen[0][1] == ALL


@pytest.mark.parametrize("name", ["top_k", "min_p", "repetition_penalty", "logprobs"])
def test_la_plateforme_is_not_sent_what_it_refuses(name: str) -> None:
    with pytest.raises(UsageError) as error:
        build_request(
            "m", [user("hi")], Sampling(**{name: 0.5 if name == "min_p" else 2}), lambda image: "", mistral=True
        )
    assert error.value.field == name
    body = build_request("m", [user("hi")], Sampling(frequency_penalty=1, n=2), lambda image: "", mistral=True)
    assert (body["frequency_penalty"], body["n"]) == (1, 2)
