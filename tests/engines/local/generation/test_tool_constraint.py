"""What may come when: a call that is required, thinking before it, text where it is free to come, and JSON beside tools."""

import pytest
import torch

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.tools import NamedTool, Tool
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.generation.sampling import Sampler, make_sampler
from pixtral_cli.engines.local.generation.tool_constraint import ToolConstraint
from tests.engines.local.checkpoints import Sizes, build

ADD = Tool("add", "", {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]})
ROLL = Tool("roll")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    return LocalEngine(build(tmp_path_factory.mktemp("v13"), Sizes(version="v13")), device="cpu")


def sampler(engine: LocalEngine, sampling: Sampling) -> tuple[ToolConstraint, Sampler]:
    constraint = engine._constraint(sampling)
    assert isinstance(constraint, ToolConstraint)
    return constraint, make_sampler(sampling, constraint.constrain)


def wanting(engine: LocalEngine, token: int) -> torch.Tensor:
    """Logits of a model that wants this token."""
    logits = torch.zeros(engine.params.vocab_size)
    logits[token] = 9.0
    return logits


def ids(engine: LocalEngine) -> tuple[int, int, int, int]:
    tokens, think = engine.tokenizer.tool_tokens, engine.tokenizer.think_tokens
    assert tokens and tokens.args and think
    return tokens.tool_calls, tokens.args, *think


def text_of(engine: LocalEngine, tokens: list[int]) -> str:
    return b"".join(map(engine.tokenizer.bytes_of, tokens)).decode()


def test_a_required_call_comes_whatever_the_model_wants(engine: LocalEngine) -> None:
    calls, args, *_ = ids(engine)
    sampling = Sampling(0, tools=(ADD, ROLL), tool_choice=NamedTool("add"), parallel_tool_calls=False)
    constraint, pick = sampler(engine, sampling)
    made = []
    while not constraint.complete:
        made.append(pick(wanting(engine, engine.tokenizer.eos)))
    assert made[0] == calls
    assert args in made
    assert text_of(engine, made) in ('add{"a": 1}', 'add{"a": 2}', 'add{"a":1}', 'add{"a":2}')


def test_a_reasoning_model_thinks_before_a_required_call(engine: LocalEngine) -> None:
    calls, _, start, end = ids(engine)
    _, pick = sampler(engine, Sampling(0, tools=(ROLL,), tool_choice="required"))
    assert pick(wanting(engine, start)) == start
    word = engine.tokenizer._tekken.encode("a", False, False)[0]
    assert pick(wanting(engine, word)) == word
    assert pick(wanting(engine, calls)) != calls, "no call within the thinking"
    assert pick(wanting(engine, end)) == end
    assert pick(wanting(engine, word)) == calls


def test_a_call_named_while_thinking_is_none(engine: LocalEngine) -> None:
    calls, _, start, end = ids(engine)
    constraint, pick = sampler(engine, Sampling(0, tools=(ROLL,)))
    for token in (start, calls, end):
        assert pick(wanting(engine, token)) == token
    assert not constraint.complete
    word = engine.tokenizer._tekken.encode("a", False, False)[0]
    assert pick(wanting(engine, word)) == word


def test_text_may_come_before_a_call_and_a_call_is_held_to_its_schema(engine: LocalEngine) -> None:
    calls, args, *_ = ids(engine)
    constraint, pick = sampler(engine, Sampling(0, tools=(ADD,), parallel_tool_calls=False))
    word = engine.tokenizer._tekken.encode("a", False, False)[0]
    assert [pick(wanting(engine, token)) for token in (word, calls)] == [word, calls]
    made = []
    while not constraint.complete:
        made.append(pick(wanting(engine, word)))
    assert args in made
    assert text_of(engine, made).startswith("add{")


def test_beside_a_schema_the_answer_is_its_json_or_a_call(engine: LocalEngine) -> None:
    calls, *_ = ids(engine)
    sampling = Sampling(0, tools=(ROLL,), schema={"type": "boolean"})
    word = engine.tokenizer._tekken.encode("z", False, False)[0]
    constraint, pick = sampler(engine, sampling)
    made = []
    while not constraint.complete:
        made.append(pick(wanting(engine, word)))
    assert text_of(engine, made) in ("true", "false")
    _, pick = sampler(engine, sampling)
    assert pick(wanting(engine, calls)) == calls
