"""Answers held to a schema: whatever an untrained model would say, what comes is JSON that satisfies it."""

import json
import re
from functools import reduce
from itertools import zip_longest
from pathlib import Path
from typing import Any

import mistral_common
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mistral_common.guidance.tokenizer import MistralLLGTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from pixtral_cli.chat.engine import Chunk, Sampling
from pixtral_cli.chat.message import Message, assistant, user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.generation.constraint import Constraint
from pixtral_cli.engines.local.generation.grammar import compile_schema
from pixtral_cli.engines.local.generation.sampling import Sampler, make_sampler
from pixtral_cli.engines.local.tokens.number_length import MAX_DIGITS, NumberLength
from pixtral_cli.engines.local.tokens.vocabulary import Vocabulary
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.structured.schema import SCHEMA_PROMPT, parse, validate
from tests.engines.local.checkpoints import SPECIALS, TRUE_TEKKEN, Sizes, build, image
from tests.engines.local.test_engine import successor

ASKED = [user("What is this?", [image(96, 40, 1)])]
TABLE = parse("[colour:red|blue, value:int]") | {"minItems": 2, "maxItems": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("random"), seed=3)


@pytest.fixture(scope="module")
def engine(folder: Path) -> LocalEngine:
    return LocalEngine(folder, name="tiny", device="cpu", dtype="fp32")


def answer(engine: LocalEngine, schema: dict[str, Any], said: list[Message] = ASKED, **how: Any) -> tuple[str, Chunk]:
    chunks = list(
        engine.stream(said, Sampling(**{"temperature": 1.0, "seed": 1, "max_tokens": 600, **how}, schema=schema))
    )
    return "".join(chunk.text for chunk in chunks), chunks[-1]


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def whole(properties: dict[str, Any], required: int) -> dict[str, Any]:
        names = list(properties)
        return {
            "type": "object",
            "properties": properties,
            "required": names[:required],
            "additionalProperties": False,
        }

    return st.builds(whole, st.dictionaries(st.text(max_size=6), inner, max_size=4), st.integers(0, 4))


def lists(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda items, least, more: {"type": "array", "items": items, "minItems": least, "maxItems": least + more},
        inner, st.integers(0, 2), st.integers(0, 2),
    )  # fmt: skip


SCALARS = st.one_of(
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": "integer"}, {"type": "string", "format": "date"}]),
    st.integers(0, 5).map(lambda most: {"type": "string", "maxLength": most}),
    st.lists(st.text(max_size=5) | st.integers() | st.none(), min_size=1, max_size=4).map(lambda some: {"enum": some}),
    st.integers(-50, 50).map(lambda low: {"type": "number", "minimum": low, "maximum": low + 7.5}),
    st.just({"type": "string", "pattern": "^[A-Z]{2}-[0-9]{1,3}$"}),
)
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: objects(inner) | lists(inner) | st.lists(inner, min_size=1, max_size=2).map(lambda some: {"anyOf": some}),
    max_leaves=6,
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(SCHEMAS, st.integers(0, 2**31), st.sampled_from([0.0, 0.7, 1.5, 5.0]), st.sampled_from([0.3, 1.0]))
def test_whatever_an_untrained_model_says_satisfies_the_schema(
    engine: LocalEngine, schema: Any, seed: int, temperature: float, top_p: float
) -> None:
    text, last = answer(engine, schema, [user("Hi")], temperature=temperature, top_p=top_p, seed=seed)
    if last.finish_reason == "stop":
        validate(text, schema)
    else:
        assert temperature == 0 or top_p < 1, "only a model that repeats itself without end needs so many tokens"


def test_an_object_of_any_kind_is_one(engine: LocalEngine) -> None:
    for seed in range(5):
        text, last = answer(engine, {"type": "object"}, seed=seed)
        assert text[0] == "{"
        assert last.finish_reason == "length" or isinstance(json.loads(text), dict)


def test_equal_seeds_give_equal_answers_and_others_do_not(engine: LocalEngine) -> None:
    texts = [answer(engine, TABLE, seed=seed)[0] for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3
    assert all(len(validate(text, TABLE)) in (2, 3) for text in texts)


def test_the_last_bracket_ends_the_answer_without_another_step(engine: LocalEngine) -> None:
    text, whole = answer(engine, TABLE)
    assert whole.usage
    again, last = answer(engine, TABLE, max_tokens=whole.usage.completion_tokens)
    assert (again, last.finish_reason) == (text, "stop")


def test_a_cut_answer_says_that_it_is_cut(engine: LocalEngine) -> None:
    whole, _ = answer(engine, TABLE)
    text, last = answer(engine, TABLE, max_tokens=7)
    assert last.finish_reason == "length"
    assert whole.startswith(text) and whole != text


def test_a_stop_string_ends_it_as_it_ends_any_answer(engine: LocalEngine) -> None:
    whole, _ = answer(engine, TABLE)
    text, last = answer(engine, TABLE, stop=("value",))
    assert last.finish_reason == "stop"
    assert text == whole[: whole.index("value")]


def test_after_one_that_was_broken_off_the_next_is_as_ever(engine: LocalEngine) -> None:
    whole, _ = answer(engine, TABLE)
    stream = engine.stream(ASKED, Sampling(1.0, seed=1, schema=TABLE))
    next(stream)
    stream.close()
    assert answer(engine, TABLE)[0] == whole


def test_answers_with_and_without_a_schema_at_the_same_time(engine: LocalEngine) -> None:
    free = Sampling(1.0, seed=4, max_tokens=30)
    alone = ["".join(chunk.text for chunk in engine.stream(ASKED, free)), answer(engine, TABLE)[0]]
    streams = [engine.stream(ASKED, free), engine.stream(ASKED, Sampling(1.0, seed=1, max_tokens=600, schema=TABLE))]
    texts = ["", ""]
    for chunks in zip_longest(*streams, fillvalue=Chunk()):
        texts = [text + chunk.text for text, chunk in zip(texts, chunks, strict=True)]
    assert texts == alone


def test_a_model_that_wants_to_end_at_once_must_go_on(tmp_path: Path) -> None:
    engine = successor(tmp_path, dict.fromkeys(range(512), 2))
    text, last = answer(engine, {"type": "integer", "minimum": 100}, [user("Hi")], temperature=0)
    assert (text, last.finish_reason) == ("100", "stop")


def test_the_question_states_the_schema_at_its_end_and_costs_no_prefix(engine: LocalEngine) -> None:
    """The image and the question that were computed without a schema are good for the one with it."""
    list(engine.stream(ASKED, Sampling(0, max_tokens=1)))
    before = engine.measure(ASKED)
    _, last = answer(engine, TABLE)
    assert last.usage and last.usage.prompt_tokens > before.prompt_tokens
    assert last.usage.cached_tokens >= before.prompt_tokens - 3
    talk = [*ASKED, assistant("[]"), user("And now?")]
    prompt = engine.tokenizer._tekken.decode(engine._encode(talk).tokens)
    assert SCHEMA_PROMPT not in prompt, "what was told for one answer is no part of the conversation"


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "array", "uniqueItems": True}, 'Unimplemented keys: ["uniqueItems"]'),
        ({"not": {"type": "string"}}, 'Unimplemented keys: ["not"]'),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"type": "string", "format": "colour"}, "Unknown format: colour"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "minimum (3) is greater than maximum (2)"),
        ({"$ref": "https://example.com/a.json"}, "example.com"),
        ({"type": "integer", "multipleOf": 1_000_003}, "multipleOf is over 20,000"),
        ({"allOf": [{"multipleOf": 9973}, {"multipleOf": 9967}]}, "multipleOf is over 20,000"),
        ({"type": "array", "minItems": 10**9}, "minItems is over 100,000"),
        (reduce(lambda inner, _: {"items": inner}, range(200), {}), "recursion limit exceeded"),
    ],
)
def test_what_no_grammar_can_hold_is_refused_before_loading(folder: Path, schema: dict[str, Any], why: str) -> None:
    engine = LocalEngine(folder, device="cpu")
    with pytest.raises(UsageError, match=re.escape(why)) as error:
        answer(engine, schema)
    assert error.value.message.startswith("The schema cannot be enforced")
    assert len(error.value.message) <= 120
    assert engine._runner is None


def test_cents_and_dozens_are_no_matter(engine: LocalEngine) -> None:
    schema = {"type": "object", "properties": {"price": {"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 9},
              "eggs": {"type": "integer", "multipleOf": 12, "minimum": 1, "maximum": 99}}, "required": ["price", "eggs"],
              "additionalProperties": False}  # fmt: skip
    value = validate(answer(engine, schema)[0], {"type": "object"})
    assert value["eggs"] % 12 == 0
    assert value["price"] == round(value["price"], 2)


def test_a_dead_end_is_an_error_and_no_answer(engine: LocalEngine) -> None:
    with pytest.raises(PixtralError, match="The answer cannot be held to the schema"):
        answer(engine, {"$ref": "#"})


def test_a_schema_cannot_loosen_the_grammar(engine: LocalEngine) -> None:
    schema = parse("a:bool") | {"x-guidance": {"key_separator": "=", "lenient": True, "whitespace_flexible": True}}
    assert re.fullmatch(r'\{"a": ?(true|false)\}', answer(engine, schema)[0])


@pytest.mark.parametrize("tekken", [TRUE_TEKKEN, Path(mistral_common.__file__).parent / "data" / "tekken_240718.json"])
def test_the_true_vocabulary_and_a_model_with_room_beyond_it(tekken: Path) -> None:
    tokenizer = Tekkenizer.from_file(tekken)
    vocabulary = Vocabulary(MistralLLGTokenizer(tokenizer))
    draw = torch.Generator().manual_seed(0)
    for room in (0, 40):
        guide = Constraint(vocabulary, compile_schema(TABLE))
        pick = make_sampler(Sampling(1.0, seed=room), guide.constrain)
        tokens: list[int] = []
        while not guide.complete:
            tokens.append(pick(torch.randn(tokenizer.n_words + room, generator=draw)))
        assert pick(torch.randn(tokenizer.n_words + room, generator=draw)) == tokenizer.eos_id
        validate(tokenizer.decode(tokens), TABLE)


def test_an_untrained_model_of_many_bytes_writes_whole_characters(tmp_path: Path) -> None:
    """Only single bytes and the shortest merges in the vocabulary: every other sign is made of several tokens."""
    engine = LocalEngine(build(tmp_path, Sizes(vocab=256 + SPECIALS), seed=5), device="cpu", dtype="fp32")
    schema = {"type": "string", "minLength": 12, "maxLength": 12}
    for seed in range(4):
        text, _ = answer(engine, schema, [user("Hi")], seed=seed, temperature=3.0)
        assert len(validate(text, schema)) == 12
        assert "�" not in text


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_choice_among_all_is_good_where_it_is_allowed(temperature: float) -> None:
    """Against the naive way, which masks every time: the same greedy choice, draws of the same frequencies."""
    tokenizer = Tekkenizer.from_file(TRUE_TEKKEN)
    vocabulary, grammar = Vocabulary(MistralLLGTokenizer(tokenizer)), compile_schema({"enum": [1, 2, 3]})
    digits = [tokenizer.encode(digit, bos=False, eos=False)[0] for digit in "123"]
    logits = torch.full((tokenizer.n_words + 9,), -30.0)
    logits[digits] = torch.tensor([1.0, 2.0, 0.5])
    logits[[5000, tokenizer.n_words + 3]] = torch.tensor([2.5, 1.5])  # forbidden, and likelier
    found = []
    for unmasked_first in (False, True):

        def pick(choose: Sampler, *, unmasked_first: bool, really: bool = unmasked_first) -> Sampler:
            assert unmasked_first
            return lambda logits: Constraint(vocabulary, grammar).constrain(choose, unmasked_first=really)(logits)

        sampler = make_sampler(Sampling(temperature, seed=1), pick)
        found.append([sampler(logits) for _ in range(400)])
    assert {*found[0], *found[1]} <= set(digits)
    for digit in digits:
        assert found[0].count(digit) == pytest.approx(found[1].count(digit), abs=40)
    if temperature == 0:
        assert set(found[0]) == set(found[1]) == {digits[1]}


NUMBERS: list[dict[str, Any]] = [
    {"type": "integer"}, {"type": "number"}, {"type": "integer", "minimum": 5}, {"type": ["integer", "null"]},
    {"anyOf": [{"type": "number"}, {"type": "boolean"}]}, {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "number"}}, "required": ["a", "b"],
     "additionalProperties": False},
]  # fmt: skip


@pytest.mark.parametrize("unmasked_first", [False, True])
@pytest.mark.parametrize("schema", NUMBERS)
def test_a_model_that_wants_digits_alone_ends_its_numbers(schema: dict[str, Any], unmasked_first: bool) -> None:
    tokenizer = Tekkenizer.from_file(TRUE_TEKKEN)
    vocabulary = Vocabulary(MistralLLGTokenizer(tokenizer))
    constraint = Constraint(vocabulary, compile_schema(schema))
    logits = torch.zeros(tokenizer.n_words)
    logits[vocabulary.leading_digits > 0] = 9.0
    for favoured, value in (("7", 12.0), ("[", 10.0), ("{", 10.0), (".", 8.5)):
        logits[tokenizer.encode(favoured, bos=False, eos=False)[0]] = value
    sampler = constraint.constrain(lambda values: int(values.argmax()), unmasked_first=unmasked_first)
    made: list[int] = []
    while not constraint.complete and len(made) < 200 and (token := sampler(logits)) != tokenizer.eos_id:
        made.append(token)
    text = b"".join(map(vocabulary.bytes_of, made)).decode()
    validate(text, schema)
    assert max(map(len, re.findall("[0-9]+", text)), default=0) == MAX_DIGITS


def test_a_number_that_the_schema_wants_longer_is_as_long_as_it_must_be() -> None:
    tokenizer = Tekkenizer.from_file(TRUE_TEKKEN)
    vocabulary = Vocabulary(MistralLLGTokenizer(tokenizer))
    long = 10**30
    constraint = Constraint(vocabulary, compile_schema({"enum": [long]}))
    sampler = constraint.constrain(lambda values: int(values.argmax()))
    made: list[int] = []
    while not constraint.complete and len(made) < 60:
        made.append(sampler(torch.zeros(tokenizer.n_words)))
    assert json.loads(b"".join(map(vocabulary.bytes_of, made))) == long


def test_digits_of_a_text_are_not_counted() -> None:
    tokenizer = Tekkenizer.from_file(TRUE_TEKKEN)
    vocabulary = Vocabulary(MistralLLGTokenizer(tokenizer))
    numbers = NumberLength(vocabulary)
    seven = tokenizer.encode("7", bos=False, eos=False)[0]
    for token in tokenizer.encode('{"a\\"1": "' + "1" * 60, bos=False, eos=False):
        numbers.add(token)
    assert numbers.allows(seven) and numbers.too_long(tokenizer.n_words) is None
    for token in tokenizer.encode('", "b": ' + "1" * 20, bos=False, eos=False):
        numbers.add(token)
    found = numbers.too_long(tokenizer.n_words + 5)
    assert not numbers.allows(seven) and found is not None and found[seven] and not found[-1]
