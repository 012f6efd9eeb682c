"""Tool calls of chat templates from v11 on: the grammar of an answer, and calls read from the text in which they come."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from llguidance import LLMatcher

from pixtral_cli.chat.engine import Chunk, Sampling, TokenLogprob
from pixtral_cli.chat.tools import NamedTool, Tool, ToolCallCollector
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.tokens.tokenizer import Tokenizer
from pixtral_cli.engines.vllm.tool_calls import CallSplitter, answer_grammar, reads_calls
from tests.engines.local.checkpoints import Sizes, build

CLOCK = Tool(
    "clock", "The time.",
    {"type": "object", "properties": {"zone": {"enum": ["utc", "cet"]}}, "required": ["zone"], "additionalProperties": False},
)  # fmt: skip
OTHER = Tool("other")
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.fixture(scope="module", params=["v11", "v13"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = build(tmp_path_factory.mktemp("model"), Sizes(version=request.param, vocab=600))
    return LocalEngine(folder).tokenizer


def test_calls_of_earlier_templates_are_vllms(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert reads_calls(tokenizer)
    assert not reads_calls(LocalEngine(build(tmp_path, Sizes(version="v7", vocab=600))).tokenizer)


def accepted(grammar: str, tokenizer: Tokenizer, *pieces: str | int) -> bool:
    """Whether the grammar takes an answer of these texts and special tokens, and its end there."""
    matcher = LLMatcher(tokenizer.vocabulary.tokenizer, grammar)
    tokens: list[int] = []
    for piece in pieces:
        tokens += [piece] if isinstance(piece, int) else tokenizer._tekken.encode(piece, bos=False, eos=False)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


@pytest.mark.parametrize("choice", ["auto", "required", NamedTool("clock")])
def test_an_answer_is_held_to_what_was_chosen(tokenizer: Tokenizer, choice: Any) -> None:
    tokens = tokenizer.tool_tokens
    assert tokens
    assert tokens.args
    grammar = answer_grammar(Sampling(tools=(CLOCK, OTHER), tool_choice=choice), tokenizer)

    def takes(*pieces: str | int) -> bool:
        return accepted(grammar, tokenizer, *pieces)

    call, args = tokens.tool_calls, tokens.args
    right = (call, "clock", args, '{"zone": "utc"}')
    assert takes(*right)
    assert takes(*right, *right)
    assert takes(call, "other", args, "{}") == (choice != NamedTool("clock"))
    assert takes("A\ntext [x]") == (choice == "auto")
    assert takes("First this. ", *right) == (choice == "auto")
    assert not takes(call, "clock", args, '{"zone": "est"}')
    assert not takes(call, "clock", args, "{}")
    assert not takes(call, "cloc", args, '{"zone": "utc"}')
    if tokenizer.think_tokens:
        begin, end = tokenizer.think_tokens
        assert takes(begin, "Hm.", end, *right)
        assert takes(begin, "Hm.", end, "Text.") == (choice == "auto")


def test_one_call_alone_where_no_others_are_allowed(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.tool_tokens
    assert tokens
    assert tokens.args
    grammar = answer_grammar(Sampling(tools=(OTHER,), tool_choice="required", parallel_tool_calls=False), tokenizer)
    call = (tokens.tool_calls, "other", tokens.args, "{}")
    assert accepted(grammar, tokenizer, *call)
    assert not accepted(grammar, tokenizer, *call, *call)


def test_an_answer_under_a_schema_is_its_json_or_a_call(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.tool_tokens
    assert tokens
    assert tokens.args
    grammar = answer_grammar(Sampling(tools=(OTHER,), schema=SCHEMA), tokenizer)
    assert accepted(grammar, tokenizer, '{"n": 3}')
    assert accepted(grammar, tokenizer, tokens.tool_calls, "other", tokens.args, "{}")
    assert not accepted(grammar, tokenizer, "three")


@pytest.mark.parametrize(
    ("said", "text", "calls"),
    [
        ("Plain [TOOL] text[TOOL_CALL", "Plain [TOOL] text[TOOL_CALL", []),
        ('Look: [TOOL_CALLS]clock[ARGS]{"zone": "utc"}', "Look: ", [("clock", '{"zone": "utc"}')]),
        ('[TOOL_CALLS]a[ARGS]{"x": "}[TOOL_CALLS]\\"{"}[TOOL_CALLS]b[ARGS]{}', "",
         [("a", '{"x": "}[TOOL_CALLS]\\"{"}'), ("b", "{}")]),
        ("[TOOL_CALLS] a [ARGS]{} \n[TOOL_CALLS]b[ARGS]{}", "", [("a", "{}"), ("b", "{}")]),
    ],
)  # fmt: skip
def test_calls_are_read_wherever_the_pieces_are_cut(said: str, text: str, calls: list[tuple[str, str]]) -> None:
    for size in range(1, len(said) + 1):
        splitter, collected = CallSplitter(), ToolCallCollector()
        pieces = [Chunk(said[at : at + size]) for at in range(0, len(said), size)]
        split = [splitter.feed(piece) for piece in (*pieces, Chunk(finish_reason="stop"))]
        for piece in split:
            collected.add(piece.tool_calls)
        assert "".join(piece.text for piece in split) == text
        assert [(call.name, call.arguments) for call in collected.calls] == calls
        assert all(len(call.id) == 9 for call in collected.calls)
        assert split[-1].finish_reason == ("tool_calls" if calls else "stop")


@pytest.mark.parametrize("said", ["[TOOL_CALLS]clo", '[TOOL_CALLS]clock[ARGS]{"zo'])
def test_a_call_that_was_cut_off_is_no_text(said: str) -> None:
    splitter = CallSplitter()
    split = [splitter.feed(Chunk(said)), splitter.feed(Chunk(finish_reason="length"))]
    assert [piece.text for piece in split] == ["", ""]
    assert split[-1].finish_reason == "length"


def test_log_probabilities_are_of_the_text_alone() -> None:
    splitter = CallSplitter()
    one = (TokenLogprob(b"x", -1.0),)
    pieces = ("Hm. ", "[TOOL_CALLS]", "clock", "[ARGS]", json.dumps({"zone": "utc"}))
    split = [splitter.feed(Chunk(piece, logprobs=one)) for piece in pieces]
    assert [bool(piece.logprobs) for piece in split] == [True, False, False, False, False]


def test_every_choice_has_a_grammar_that_compiles(tokenizer: Tokenizer) -> None:
    for choice, schema, parallel in product(("auto", "required", NamedTool("other")), (None, SCHEMA), (True, False)):
        sampling = Sampling(
            tools=(CLOCK, OTHER), tool_choice=choice, schema=schema, parallel_tool_calls=parallel  # type: ignore[arg-type]
        )  # fmt: skip
        assert not LLMatcher.validate_grammar(answer_grammar(sampling, tokenizer))
