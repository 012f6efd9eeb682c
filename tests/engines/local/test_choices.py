"""Several answers at once, penalties and log-probabilities, through the whole engine over random weights."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from pixtral_cli.chat.engine import Chunk, Sampling
from pixtral_cli.chat.message import Message, user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.errors import UsageError
from pixtral_cli.models import names
from tests.engines.local.checkpoints import build, image

ASKED = [user("What is this? " * 12, [image(96, 96, 1)])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> LocalEngine:
    return LocalEngine(folder, device="cpu", dtype="fp32")


def text(chunks: Sequence[Chunk], index: int = 0) -> str:
    return "".join(chunk.text for chunk in chunks if chunk.index == index)


def answer(who: LocalEngine, sampling: Sampling, asked: Sequence[Message] = ASKED) -> list[Chunk]:
    return list(who.stream(asked, sampling))


def test_each_of_several_answers_is_that_of_its_own_seed(engine: LocalEngine) -> None:
    sampling = Sampling(1.0, seed=11, max_tokens=12)
    several = answer(engine, Sampling(1.0, seed=11, max_tokens=12, n=3))
    for index in range(3):
        alone = answer(engine, Sampling(1.0, seed=sampling.seed + index if sampling.seed else 0, max_tokens=12))
        assert text(several, index) == text(alone)
    finished = [chunk for chunk in several if chunk.finish_reason]
    assert sorted(chunk.index for chunk in finished) == [0, 1, 2]
    assert [chunk.usage is None for chunk in finished] == [True, True, False]
    assert several[-1].usage
    assert several[-1].usage.completion_tokens <= 36
    assert several[-1].usage.prompt_tokens == engine.measure(ASKED).prompt_tokens


def test_the_prompt_of_several_answers_is_computed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = LocalEngine(folder, device="cpu", dtype="fp32")
    runner = engine.load()
    computed: list[int] = []
    whole = runner.prefill

    def counted(prompt, sequence, *rest):  # type: ignore[no-untyped-def]
        computed.append(len(prompt.tokens) - sequence.cache.length)
        return whole(prompt, sequence, *rest)

    monkeypatch.setattr(runner, "prefill", counted)
    answer(engine, Sampling(1.0, seed=1, max_tokens=8, n=6))
    assert sorted(computed)[:-1] == [1] * 5


def test_closing_ends_every_answer(engine: LocalEngine) -> None:
    before = threading.active_count()
    stream = engine.stream(ASKED, Sampling(1.0, seed=1, n=4))
    next(stream)
    stream.close()
    assert threading.active_count() == before
    assert list(stream) == []


def test_an_error_of_one_is_the_error_of_all(engine: LocalEngine) -> None:
    with pytest.raises(UsageError, match="token 512"):
        answer(engine, Sampling(n=3, logit_bias={512: 1.0}))


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        (Sampling(n=0), "n"), (Sampling(n=10**9), "n"), (Sampling(top_k=-1), "top_k"), (Sampling(min_p=1.1), "min_p"),
        (Sampling(repetition_penalty=0.0), "repetition_penalty"), (Sampling(frequency_penalty=3), "frequency_penalty"),
        (Sampling(presence_penalty=float("nan")), "presence_penalty"), (Sampling(logprobs=50), "logprobs"),
        (Sampling(logit_bias={5: 101.0}), "logit_bias"), (Sampling(logit_bias={-1: 1.0}), "logit_bias"),
        (Sampling(logit_bias={10**12: 1.0}), "logit_bias"),
    ],
)  # fmt: skip
def test_a_senseless_parameter_is_named(engine: LocalEngine, sampling: Sampling, field: str) -> None:
    with pytest.raises(UsageError) as error:
        answer(engine, sampling)
    assert error.value.field == field


def test_penalties_hold_whether_tokens_are_drafted_or_not() -> None:
    """The demo drafts from its prompt; the answer under a penalty is the one that it gives without drafting."""
    page = "Draw a web page for this sketch. " + "<p>one two three</p> " * 20
    answers = []
    for drafts in (True, False):
        engine = LocalEngine(names.resolve("demo").folder, device="cpu")
        assert engine.load()._drafts
        engine.load()._drafts = drafts
        answers.append(text(answer(engine, Sampling(0, repetition_penalty=1.15, max_tokens=80), [user(page)])))
    assert answers[0] == answers[1] != ""


def test_every_token_of_the_text_has_its_log_probability(engine: LocalEngine) -> None:
    chunks = answer(engine, Sampling(0, logprobs=2, max_tokens=10))
    told = [one for chunk in chunks for one in chunk.logprobs]
    assert chunks[-1].usage
    assert len(told) == chunks[-1].usage.completion_tokens
    assert b"".join(one.data for one in told).decode(errors="replace").startswith(text(chunks).rstrip("�"))
    assert all(len(one.top) == 2 and one.top[0].logprob >= one.top[1].logprob for one in told)
    assert all(one.logprob == pytest.approx(one.top[0].logprob) for one in told)  # greedy


def test_log_probabilities_are_of_the_text_and_of_nothing_that_a_stop_string_cuts_off() -> None:
    demo = LocalEngine(names.resolve("demo").folder, device="cpu")
    said = text(answer(demo, Sampling(0, max_tokens=40), [user("Who are you?")]))
    assert len(said) > 20
    for start in range(3, len(said) - 6, 5):
        stop = said[start : start + 6]
        expected = said[: said.index(stop)]
        chunks = answer(demo, Sampling(0, max_tokens=40, stop=(stop,), logprobs=1), [user("Who are you?")])
        told = [one.data.decode(errors="replace") for chunk in chunks for one in chunk.logprobs]
        assert text(chunks) == expected
        assert "".join(told).startswith(expected)
        assert len("".join(told[:-1])) < len(expected) or not told
    unmet = answer(demo, Sampling(0, max_tokens=40, stop=(said[-4:] + "~",), logprobs=1), [user("Who are you?")])
    assert "".join(one.data.decode() for chunk in unmet for one in chunk.logprobs) == text(unmet) == said
