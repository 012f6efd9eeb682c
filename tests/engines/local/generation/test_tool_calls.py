"""Tool calls of every version of the templates: encoded by mistral_common, held by the grammar, read back from the tokens."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from pixtral_cli.chat.message import Message, assistant, tool_result, user
from pixtral_cli.chat.tools import Tool, ToolCall, ToolCallCollector
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.generation.tool_calls import ListedCalls, ToolCallParser
from pixtral_cli.engines.local.generation.tool_grammar import compile_tools
from tests.engines.local.checkpoints import Sizes, build

VERSIONS = ("v3", "v7", "v11", "v13", "v15")
ADD = Tool(
    "add",
    "Adds.",
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a"]},
)
ADDED = Tool("add_all", "Adds all.")
TOOLS = (ADD, ADDED)
CALLS = (ToolCall("abcdefgh1", "add", '{"a": 1, "b": "}]{\\"[ é"}'), ToolCall("abcdefgh2", "add_all", "{}"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module", params=VERSIONS)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    folder: Path = build(tmp_path_factory.mktemp(request.param), Sizes(version=request.param))
    return LocalEngine(folder, device="cpu")


def call_tokens(engine: LocalEngine, calls: tuple[ToolCall, ...]) -> list[int]:
    """What mistral_common writes for the calls of an answer, up to the end of it."""
    said = [user("hi"), assistant("", tool_calls=calls)]
    results = [tool_result(call, "done") for call in calls]
    tokens = engine._encode([*said, *results], TOOLS).tokens
    first = tokens.index(engine.tokenizer.tool_tokens.tool_calls)  # type: ignore[union-attr]
    return tokens[first : tokens.index(engine.tokenizer.eos, first)]


def read(engine: LocalEngine, tokens: list[int]) -> list[tuple[str, Any]]:
    parser = ToolCallParser(engine.tokenizer.tool_tokens, engine.tokenizer.bytes_of)  # type: ignore[arg-type]
    found = ToolCallCollector()
    for token in tokens:
        found.add(parser.feed(token))
    assert all(len(call.id) == 9 for call in found.calls)
    assert parser.count == len(found.calls)
    return [(call.name, json.loads(call.arguments)) for call in found.calls]


def test_what_a_template_writes_is_read_and_allowed(engine: LocalEngine) -> None:
    tokens = call_tokens(engine, CALLS)
    assert read(engine, tokens) == [("add", json.loads(CALLS[0].arguments)), ("add_all", {})]
    grammar = compile_tools(TOOLS, engine.tokenizer.tool_tokens, parallel=True)  # type: ignore[arg-type]
    matcher = LLMatcher(engine.tokenizer.vocabulary.tokenizer, grammar)
    assert matcher.try_consume_tokens(tokens[1:]) == len(tokens) - 1
    assert matcher.is_accepting()


def test_one_call_is_all_where_they_may_not_be_parallel(engine: LocalEngine) -> None:
    grammar = compile_tools(TOOLS, engine.tokenizer.tool_tokens, parallel=False)  # type: ignore[arg-type]
    one, two = call_tokens(engine, CALLS[:1]), call_tokens(engine, CALLS)
    matcher = LLMatcher(engine.tokenizer.vocabulary.tokenizer, grammar)
    assert matcher.try_consume_tokens(one[1:]) == len(one) - 1
    assert matcher.is_stopped()
    again = LLMatcher(engine.tokenizer.vocabulary.tokenizer, grammar)
    assert again.try_consume_tokens(two[1:]) < len(two) - 1


@pytest.mark.parametrize("arguments", ['{"a": "one"}', "{}", '{"a": 1, "c": 2}'])
def test_arguments_beside_the_schema_are_not_allowed(engine: LocalEngine, arguments: str) -> None:
    tokens = call_tokens(engine, (ToolCall("abcdefgh1", "add", arguments),))
    grammar = compile_tools(TOOLS, engine.tokenizer.tool_tokens, parallel=True)  # type: ignore[arg-type]
    matcher = LLMatcher(engine.tokenizer.vocabulary.tokenizer, grammar)
    assert matcher.try_consume_tokens(tokens[1:]) < len(tokens) - 1


def test_ids_of_any_form_are_encoded_alike(engine: LocalEngine) -> None:
    def tokens(number: str) -> list[int]:
        call = ToolCall(number, "add", '{"a": 1}')
        return engine._encode([user("hi"), assistant("", tool_calls=(call,)), tool_result(call, "2")], TOOLS).tokens

    assert len(tokens("call_0123456789abcdef")) > 10
    assert tokens("abcdefgh1") == tokens("abcdefgh1")


def test_the_tools_stand_in_the_prompt(engine: LocalEngine) -> None:
    plain, with_tools = engine._encode([user("hi")]).tokens, engine._encode([user("hi")], TOOLS).tokens
    text = b"".join(map(engine.tokenizer.bytes_of, with_tools)).decode()
    assert '"name": "add_all"' in text
    assert len(with_tools) > len(plain)
    assert engine.measure([user("hi")], TOOLS).prompt_tokens == len(with_tools)


def test_text_before_calls_is_kept_where_the_template_has_a_place_for_it(engine: LocalEngine) -> None:
    answer = assistant("Let me see.", tool_calls=CALLS[:1])
    tokens = engine._encode([user("hi"), answer, tool_result(CALLS[0], "2")], TOOLS).tokens
    text = b"".join(map(engine.tokenizer.bytes_of, tokens)).decode()
    assert ("Let me see." in text) == engine.tokenizer.has_text_with_calls


def test_an_answer_to_be_continued_has_no_end(engine: LocalEngine) -> None:
    begun = engine._encode([user("hi"), Message("assistant", ("The cat",), prefix=True)]).tokens
    assert begun[-1] != engine.tokenizer.eos
    assert b"".join(map(engine.tokenizer.bytes_of, begun)).decode().endswith("The cat")


@given(arguments=st.dictionaries(st.text(max_size=4), JSON, max_size=4), size=st.integers(1, 7))
@settings(max_examples=200, deadline=None)
def test_a_list_of_calls_is_read_from_pieces_of_any_size(arguments: dict[str, Any], size: int) -> None:
    written = json.dumps([{"name": "add", "arguments": arguments}, {"name": "x", "arguments": {}, "id": "abcdefgh1"}])
    reader, found = ListedCalls(), ToolCallCollector()
    for start in range(0, len(written), size):
        found.add(reader.feed(written[start : start + size]))
    assert [(call.name, json.loads(call.arguments)) for call in found.calls] == [("add", arguments), ("x", {})]


def test_a_schema_that_cannot_be_enforced_is_enforced_in_part() -> None:
    from pixtral_cli.engines.local.tokens.tool_tokens import ToolTokens

    link = Tool(
        "open", "", {"type": "object", "properties": {"url": {"type": "string", "format": "uri"}}, "required": ["url"]}
    )
    odd = Tool("odd", "", {"type": "object", "patternProperties": {"(?<=a)b": {"type": "string"}}})
    grammar = compile_tools((link, odd), ToolTokens(9), parallel=False)
    assert not LLMatcher.validate_grammar(grammar)
    assert '"required": ["url"]' in grammar
