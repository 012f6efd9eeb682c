"""La Plateforme's own fields, by its own client: prefix, safe_prompt, prompt_mode, random_seed, thinking, documents, models."""

from collections.abc import Iterator
from typing import Any

import pytest
from mistralai.client import Mistral
from mistralai.client.errors import SDKError

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message, user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.models import names
from pixtral_cli.server.openai.conversation import SAFE_PROMPT
from tests.fakes import FakeEngine
from tests.server.serving import Running, serving

ASKED: Any = [{"role": "user", "content": "What is this?"}]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(["well"])


@pytest.fixture
def running(engine: FakeEngine) -> Iterator[Running]:
    with serving(engine, model="fake", window=lambda: 1000) as running:
        yield running


@pytest.fixture
def client(running: Running) -> Iterator[Mistral]:
    with Mistral(server_url=running.url, api_key="x", timeout_ms=120_000) as client:
        yield client


def test_a_prefix_is_continued_and_not_repeated() -> None:
    """The demo's greedy answer, cut after some characters and continued, is the same answer."""
    demo = LocalEngine(names.resolve("demo").folder, name="demo", device="cpu")
    with (
        serving(demo, model="demo", defaults=Sampling(temperature=0)) as running,
        Mistral(server_url=running.url, api_key="x", timeout_ms=120_000) as client,
    ):
        whole = client.chat.complete(model="demo", messages=ASKED, temperature=0)
        text = str(whole.choices[0].message and whole.choices[0].message.content)
        head = text[: text.index(" ", 5)]
        said = [*ASKED, {"role": "assistant", "content": head, "prefix": True}]
        rest = client.chat.complete(model="demo", messages=said, temperature=0)
    demo.close()
    assert len(text) > 20
    assert head + str(rest.choices[0].message and rest.choices[0].message.content) == text


def test_the_prefix_reaches_the_engine(client: Mistral, engine: FakeEngine) -> None:
    client.chat.complete(model="fake", messages=[*ASKED, {"role": "assistant", "content": "A", "prefix": True}])
    assert engine.seen[0][0][-1] == Message("assistant", ("A",), prefix=True)


@pytest.mark.parametrize(
    ("said", "fields", "param"),
    [
        ([{"role": "assistant", "content": "A", "prefix": True}, *ASKED], {}, "messages.1.prefix"),
        ([{"role": "assistant", "content": "", "prefix": True}], {}, "messages.1.prefix"),
        ([{"role": "assistant", "content": "A"}], {}, "messages.1.role"),
        ([{"role": "assistant", "content": "A", "prefix": True}], {"response_format": {"type": "json_object"}},
         "messages.1.prefix"),
    ],
)  # fmt: skip
def test_a_senseless_prefix_is_refused_by_name(running: Running, said: list[Any], fields: Any, param: str) -> None:
    reply = running.ask(messages=[*ASKED, *said], **fields)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


def test_the_safe_prompt_stands_before_the_conversation(client: Mistral, engine: FakeEngine) -> None:
    client.chat.complete(model="fake", messages=[{"role": "system", "content": "Be brief."}, *ASKED], safe_prompt=True)
    assert [(message.role, message.text) for message in engine.seen[0][0]] == [
        ("system", SAFE_PROMPT), ("system", "Be brief."), ("user", "What is this?"),
    ]  # fmt: skip


def test_a_random_seed_is_the_seed(client: Mistral, engine: FakeEngine) -> None:
    client.chat.complete(
        model="fake", messages=ASKED, random_seed=11, prompt_mode="reasoning", presence_penalty=0.5,
        frequency_penalty=-0.5, n=1, parallel_tool_calls=True,
    )  # fmt: skip
    sampling = engine.seen[0][1]
    assert (sampling.seed, sampling.presence_penalty, sampling.frequency_penalty) == (11, 0.5, -0.5)


def test_thinking_in_the_content_is_what_was_thought(client: Mistral, engine: FakeEngine) -> None:
    content: Any = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm, "}, {"type": "text", "text": "so."}]},
        {"type": "text", "text": "A cat."},
    ]
    client.chat.complete(model="fake", messages=[*ASKED, {"role": "assistant", "content": content}, *ASKED])
    assert engine.seen[0][0][1] == Message("assistant", ("A cat.",), reasoning="Hm, so.")


def test_a_document_is_refused_by_name(client: Mistral, engine: FakeEngine) -> None:
    content: Any = [{"type": "document_url", "document_url": "https://example.com/a.pdf"}]
    with pytest.raises(SDKError, match="document_url is not read here") as error:
        client.chat.complete(model="fake", messages=[{"role": "user", "content": content}])
    assert error.value.status_code == 400
    assert not engine.seen


def test_models_tell_what_they_can(client: Mistral) -> None:
    card: Any = (client.models.list().data or [])[0]
    assert card.id == "fake"
    assert card.max_context_length == 1000
    assert (card.capabilities.vision, card.capabilities.function_calling, card.capabilities.completion_chat) == (
        True,
    ) * 3


def test_an_answer_is_continued_by_the_engine_itself() -> None:
    demo = LocalEngine(names.resolve("demo").folder, name="demo")
    asked, begun = user("What is this?"), Message("assistant", ("I can",), prefix=True)
    *_, last = demo._encode([asked, begun]).tokens
    assert last != demo.tokenizer.eos
