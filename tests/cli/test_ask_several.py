"""`pixtral ask --n`, `--logprobs` and `--logit-bias`: the demo here, in a process of its own, and behind a URL."""

import json
import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest

from pixtral_cli import config
from pixtral_cli.chat.engine import Chunk, Cost, Sampling, Timings, TokenLogprob, Usage
from pixtral_cli.chat.message import Message
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.models.names import demo_folder
from pixtral_cli.sessions.library import Sessions
from tests.cli.calling import Result, pixtral
from tests.server.processes import ROOT
from tests.server.serving import Running, serving

SHAPES = str(ROOT / "examples" / "shapes.png")
ANSWER = "A red circle, a blue star and a green triangle."
WHAT = ("ask", "What is in the image?", "--image", SHAPES, "-m", "demo", "--no-stdin")


class Several:
    """Makes as many answers as are asked for, all at a time; the first is the longest."""

    def __init__(self) -> None:
        self.seen: list[tuple[Sequence[Message], Sampling]] = []

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        self.seen.append((tuple(messages), sampling))
        told = () if sampling.logprobs is None else (TokenLogprob(b"a", -0.5, (TokenLogprob(b"a", -0.5),)),)
        for word in range(sampling.n):
            for index in range(sampling.n - word):
                yield Chunk(f"{index}{word} ", logprobs=told, index=index)
        *others, final = reversed(range(sampling.n))
        for index in others:
            yield Chunk(finish_reason="length" if index == 1 else "stop", index=index)
        yield Chunk(finish_reason="stop", usage=Usage(5, 6), timings=Timings(), index=final)

    def measure(self, messages: object, tools: object = ()) -> Cost:
        return Cost(1, 100)

    def close(self) -> None:
        pass


@pytest.fixture
def engine() -> Several:
    return Several()


@pytest.fixture
def running(engine: Several) -> Iterator[Running]:
    with serving(engine) as running:
        yield running


def ask(running: Running, *words: str) -> Result:
    return pixtral("ask", "which?", "--base-url", running.url, "-m", "fake", "--no-stdin", *words)


def test_answers_come_one_after_the_other_with_a_line_between(running: Running, engine: Several) -> None:
    done = ask(running, "--n", "3")
    assert done.status == 0, done.stderr
    assert done.stdout == "00 01 02 \n\n--- 2 of 3 ---\n\n10 11 \n\n--- 3 of 3 ---\n\n20 \n"
    assert "Answer 2 was cut off" in done.stderr
    assert engine.seen[0][1].n == 3


def test_each_answer_is_a_version_of_the_turn_and_the_first_goes_on(running: Running, engine: Several) -> None:
    ask(running, "--n", "3")
    saved = Sessions(config.paths().data).load(Sessions(config.paths().data).newest().id)
    assert [message.text for message in saved.messages] == ["which?", "00 01 02 "]
    texts = {node.message.text for node in saved.snapshot.nodes}
    assert texts == {"which?", "00 01 02 ", "10 11 ", "20 "}
    again = ask(running, "-c")
    assert again.status == 0, again.stderr
    assert [message.text for message in engine.seen[-1][0]] == ["which?", "00 01 02 ", "which?"]
    assert engine.seen[-1][1].n == 1


def test_json_lists_the_answers_and_counts_all(running: Running) -> None:
    told = json.loads(ask(running, "--n", "2", "--json").stdout)
    assert told["answers"] == [
        {"answer": "00 01 ", "finish_reason": "stop"}, {"answer": "10 ", "finish_reason": "length"},
    ]  # fmt: skip
    assert told["usage"]["completion_tokens"] == 6
    assert "answer" not in told


def test_jsonl_says_of_each_piece_whose_it_is(running: Running) -> None:
    *pieces, whole = map(json.loads, ask(running, "--n", "2", "--format", "jsonl").stdout.splitlines())
    assert pieces == [{"index": 0, "text": "00 "}, {"index": 1, "text": "10 "}, {"index": 0, "text": "01 "}]
    assert [one["answer"] for one in whole["answers"]] == ["00 01 ", "10 "]


def test_logprobs_have_the_shape_of_the_api(running: Running) -> None:
    token = {"token": "a", "logprob": -0.5, "bytes": [97]}
    content = {"content": [{**token, "top_logprobs": [token]}], "refusal": None}
    with running.client as client:
        body = {"model": "fake", "messages": [{"role": "user", "content": "which?"}], "logprobs": True}
        there = client.post("/v1/chat/completions", json=body).json()["choices"][0]["logprobs"]
    assert (
        json.loads(ask(running, "--logprobs", "--top-logprobs", "1", "--json").stdout)["logprobs"] == content == there
    )
    first, whole = map(json.loads, ask(running, "--logprobs", "--format", "jsonl").stdout.splitlines())
    assert first == {"text": "00 ", "logprobs": content}
    assert whole["logprobs"] == content
    several = json.loads(ask(running, "--n", "2", "--logprobs", "--json").stdout)
    assert [len(one["logprobs"]["content"]) for one in several["answers"]] == [2, 1]


def test_a_bias_goes_to_the_server_by_token(running: Running, engine: Several) -> None:
    assert ask(running, "--logit-bias", "7=-100", "--logit-bias", "12=2.5").status == 0
    assert dict(engine.seen[0][1].logit_bias) == {7: -100.0, 12: 2.5}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--n", "0"), "--n"),
        (("--n", "33"), "--n"),
        (("--n", "two"), "--n"),
        (("--n", "2", "-x", "python"), "--n 2 makes several answers, and --extract is for one"),
        (("--n", "2", "--schema", "name"), "--n 2 makes several answers, and --schema is for one"),
        (("--n", "2", "-o", "x.txt"), "--n 2 makes several answers, and --output is for one"),
        (("--n", "2", "--tool", "crop", "--yes-tools"), "--n 2 makes several answers, and --tool is for one"),
        (("--logprobs",), "--logprobs has no place in text"),
        (("--top-logprobs", "3", "--json"), "--top-logprobs goes with --logprobs"),
        (("--logprobs", "--top-logprobs", "21", "--json"), "--top-logprobs"),
        (("--logit-bias", "red=3"), "--logit-bias red=3 is no TOKEN=BIAS"),
        (("--logit-bias", "7"), "--logit-bias 7 is no TOKEN=BIAS"),
        (("--logit-bias", "7=101"), "--logit-bias 7=101: the bias is beyond 100"),
        (("--logit-bias", "7=nan"), "--logit-bias 7=nan is no TOKEN=BIAS"),
        (("--logit-bias", "7=1", "--logit-bias", "07=2"), "--logit-bias gives token 7 two values"),
        (("--n", "2", "--save", "mine"), "--n is for one request: a template does not keep it"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_asks_nothing(
    running: Running, engine: Several, words: Sequence[str], said: str
) -> None:
    done = ask(running, *words)
    assert (done.status, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert said in done.stderr
    assert engine.seen == []


@cache
def token_of(data: bytes) -> int:
    tokenizer = LocalEngine(demo_folder(), name="demo").tokenizer
    return next(token for token in range(2000) if tokenizer.bytes_of(token) == data)


@pytest.mark.parametrize("where", [("--keep-alive", "0"), ("--keep-alive", "1m")])
def test_the_demo_makes_several_answers_here_and_in_a_process_of_its_own(where: tuple[str, ...]) -> None:
    done = pixtral(*WHAT, *where, "--n", "2", "--logprobs", "--top-logprobs", "2", "--json")
    assert done.status == 0, done.stderr
    answers = json.loads(done.stdout)["answers"]
    assert [one["answer"] for one in answers] == [ANSWER] * 2
    for one in answers:
        content: list[dict[str, Any]] = one["logprobs"]["content"]
        assert "".join(entry["token"] for entry in content) == ANSWER
        assert all(len(entry["top_logprobs"]) == 2 for entry in content)
        assert all(entry["logprob"] == entry["top_logprobs"][0]["logprob"] <= 0 for entry in content)
    first = content[0]["token"].encode()
    banned = pixtral(*WHAT, *where, "--logit-bias", f"{token_of(first)}=-100", "--logprobs", "--json")
    told = json.loads(banned.stdout)["logprobs"]["content"]
    assert told[0]["token"].encode() != first
    assert math.isfinite(told[0]["logprob"])


def test_a_bias_of_a_token_that_is_not_there_is_one_line() -> None:
    done = pixtral(*WHAT, "--keep-alive", "0", "--logit-bias", "999999=1")
    assert (done.status, done.stdout) == (2, "")
    assert "logit_bias names token 999999" in done.stderr
