"""Schemas: the short form, JSON, a file; what is wrong with them, and with an answer."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.generation.grammar import compile_schema
from pixtral_cli.errors import UsageError
from pixtral_cli.structured.schema import AnswerMismatch, parse, validate, with_schema_prompt
from pixtral_cli.structured.schema_check import check
from pixtral_cli.structured.schema_limits import check_limits

STRING: dict[str, Any] = {"type": "string"}


def fields(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def list_of(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ("name, price:float, [items]", fields(name=STRING, price={"type": "number"}, items=list_of(STRING))),
        ("a:str,b:int,c:float,d:bool", fields(a=STRING, b={"type": "integer"}, c={"type": "number"}, d={"type": "boolean"})),
        ("a:string, b:integer", fields(a=STRING, b={"type": "integer"})),
        ("number, boolean:bool", fields(number=STRING, boolean={"type": "boolean"})),
        ("age int, name str", fields(age={"type": "integer"}, name=STRING)),
        ("name: as printed", fields(name={"type": "string", "description": "as printed"})),
        ("age int: in years", fields(age={"type": "integer", "description": "in years"})),
        ("age:int: in years", fields(age={"type": "integer", "description": "in years"})),
        ("age: int in years", fields(age={"type": "integer", "description": "in years"})),
        ("size:small|large", fields(size={"type": "string", "enum": ["small", "large"]})),
        ("size: small | large", fields(size={"type": "string", "enum": ["small", "large"]})),
        ("days: number of days", fields(days={"type": "string", "description": "number of days"})),
        ("p?:float, q?", fields(p={"type": ["number", "null"]}, q={"type": ["string", "null"]})),
        ("m?:a|b", fields(m={"type": ["string", "null"], "enum": ["a", "b", None]})),
        ("[sizes:int]: in cm", fields(sizes=list_of({"type": "integer"}) | {"description": "in cm"})),
        ("seller{name, city}", fields(seller=fields(name=STRING, city=STRING))),
        ("items[name, n:int], sum:float", fields(
            items=list_of(fields(name=STRING, n={"type": "integer"})), sum={"type": "number"}
        )),
        ("[colour, value:int]", list_of(fields(colour=STRING, value={"type": "integer"}))),
        ("[a], [b]", fields(a=list_of(STRING), b=list_of(STRING))),
        ("a\nb: one, two,\n\n[c]\n", fields(a=STRING, b={"type": "string", "description": "one, two"}, c=list_of(STRING))),
        ("größe:float, x-y", fields(**{"größe": {"type": "number"}, "x-y": STRING})),
    ],
)  # fmt: skip
def test_the_short_form_means_what_it_says(text: str, schema: dict[str, Any]) -> None:
    assert parse(text) == schema
    assert list(parse(text).get("properties", {})) == list(schema.get("properties", {}))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("price:flaot", "'flaot' is no type of price; there are str, int, float, bool"),
        ("first name", "'name' is no type of first"),
        ("v:float|null", "v has one type, not 'float|null'; what may be null is v?:float"),
        ("q:yes|no?", "what may be null has its mark at the name, q?:yes|no"),
        ("a,,b", "there is nothing before the comma at character 3"),
        ("[a, b", "the [ at character 1 is not closed by a ]"),
        ("a}", "'}' is no type of a"),
        ("[int]", "int is a type and no name"),
        ("a, b, a", "the field a is given twice"),
        ("[]", "a list of fields without a field"),
        ("a{}", "a list of fields without a field"),
        ("?", "'?' does not begin with the name of a field"),
        ("[" * 500 + "a" + "]" * 500, "it nests too deep"),
        ("a[" * 500 + "a" + "]" * 500, "it nests too deep"),
        ("orders.json", "There is no file orders.json"),
        ("./orders", "There is no file ./orders"),
        ('{"type": "object"', "is not valid JSON: Expecting ',' delimiter at line 1, column 18"),
        ('{"enum": [NaN]}', "NaN is not JSON"),
        ('{"type": "objekt"}', "is no JSON schema at type: 'objekt' is not valid"),
        ('{"type": "object", "properties": {"a": {"type": 3}}}', "no JSON schema at properties.a.type"),
        ('{"type": "string", "pattern": "("}', "at pattern: '(' is not a 'regex'"),
        ('{"name": "str"}', "none of a JSON schema's keywords, only: name"),
        ('{"properties": {"a": {"$ref": "https://example.com/a.json"}}}', "refers to https://example.com/a.json"),
        ('{"items": {"$ref": "file:///etc/passwd"}}', "refers to file:///etc/passwd"),
        ('{"items": {"$ref": "#/$defs/line"}}', "has no #/$defs/line, which a $ref names"),
        ('{"$ref": "#"}', "refers to itself without end"),
        ('{"items": ' * 5000, "nests too deep"),
        ('{"pattern": "a{9999999999}"}', "repeats something in a pattern too often"),
        ('{"enum": ["\\ud800"]}', "lone surrogate"),
        ('{"enum": [1e999]}', "NaN or Infinity"),
        ('{"$schema": [], "type": "object"}', "no JSON schema at $schema"),
    ],
)
def test_a_bad_schema_is_refused_in_one_line_that_says_why(text: str, why: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(text)
    assert why in error.value.message
    assert len(error.value.message) <= 120 and "\n" not in error.value.message


@given(st.text(max_size=60))
def test_whatever_is_typed_is_a_schema_or_a_usage_error(text: str) -> None:
    try:
        schema = parse(text)
    except UsageError as error:
        assert len(error.message) <= 120
    else:
        check(schema)


@given(st.text("ab:?[]{},| \nint", max_size=40))
def test_whatever_looks_like_the_short_form_is_a_schema_or_a_usage_error(text: str) -> None:
    try:
        check(parse(text))
    except UsageError as error:
        assert len(error.message) <= 120


KEYWORDS = [
    "type", "properties", "items", "required", "enum", "const", "$ref", "$defs", "allOf", "anyOf", "not", "if", "pattern",
    "format", "minimum", "multipleOf", "minItems", "additionalProperties", "patternProperties", "$schema", "$id", "$anchor",
    "prefixItems", "$dynamicRef", "definitions", "a",
]  # fmt: skip
VALUES = st.sampled_from(
    ["string", "object", "#", "#/a", "#/$defs/a", "#a", "http://x/", "(", "[[a]", "a*", "date", "", "http://["]
    + [f"http://json-schema.org/{draft}/schema#" for draft in ("draft-03", "draft-07")]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.filterwarnings("error")
@given(st.dictionaries(st.sampled_from(KEYWORDS), JSON, max_size=5))
def test_whatever_has_a_schemas_keywords_is_one_or_a_usage_error(schema: dict[str, Any]) -> None:
    for use in (check, compile_schema):
        try:
            use(schema)
        except UsageError as error:
            assert len(error.message) <= 120
            break


def test_a_file_holds_json_or_the_short_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_text('\ufeff{"type": "array"}')
    Path("fields").write_text("name: full, as printed\nprice:float\n")
    assert parse("a.json") == {"type": "array"}
    assert parse(str(tmp_path / "a.json")) == {"type": "array"}
    assert parse("fields")["required"] == ["name", "price"]
    assert parse("name")["required"] == ["name"]


def test_a_file_may_be_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=('{"type": "array"}',))
    writer.start()
    assert parse(str(tmp_path / "pipe")) == {"type": "array"}
    writer.join()


def test_what_is_wrong_with_a_file_names_it(tmp_path: Path) -> None:
    bad = tmp_path / "b.json"
    for data, why in [(b"{", "not valid JSON"), (b"\xff\xfe{", "is not text"), (b" " * 2_000_000, "larger than 1 MB")]:
        bad.write_bytes(data)
        with pytest.raises(UsageError, match=why) as error:
            parse(str(bad))
        assert "b.json" in error.value.message
    with pytest.raises(UsageError, match="is a directory"):
        parse(str(tmp_path))


def test_a_reference_is_data_where_it_is_no_keyword() -> None:
    schema = {"type": "object", "properties": {"$ref": STRING, "a": {"$ref": "#/$defs/a"}}, "$defs": {"a": STRING}}
    assert parse(json.dumps(schema)) == schema
    assert check({"enum": [{"$ref": "https://example.com"}]})
    with pytest.raises(UsageError, match="must be a JSON object, not an array"):
        check([schema])


TREE = {"type": "object", "properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}, "required": ["n"]}


def test_an_answer_that_fits_is_its_value() -> None:
    assert validate('[{"colour": "red", "value": 3}]', parse("[colour, value:int]")) == [{"colour": "red", "value": 3}]
    assert validate('{"n": 1, "next": {"n": 2}}', TREE)["next"] == {"n": 2}


def test_a_bare_word_is_a_field_also_beside_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tags").mkdir()
    assert parse("tags") == fields(tags=STRING)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "The answer is not valid JSON: Expecting value at line 1, column 1"),
        ('Here it is: {"n": 1}', "not valid JSON"),
        ('{"n": 1', "not valid JSON: Expecting ',' delimiter at line 1, column 8"),
        ('{"n": NaN}', "not valid JSON: NaN is not JSON"),
        ('{"n": 1e999}', "1e999 is too large a number"),
        ("{}", "does not satisfy the schema: 'n' is a required property"),
        ('{"n": 1, "next": {"n": "two"}}', "the schema at next.n: 'two' is not of type 'integer'"),
        (json.dumps({"n": "x" * 500}), 'at n: against type "integer"'),
        ('{"n": 1, "next": ' * 3000 + "{}" + "}" * 3000, "too deep"),
    ],
)
def test_an_answer_that_does_not_fit_says_where(text: str, why: str) -> None:
    with pytest.raises(AnswerMismatch) as error:
        validate(text, TREE)
    assert why in error.value.message
    assert error.value.status == 1 and len(error.value.message) <= 120


def test_of_several_complaints_the_outermost_is_told() -> None:
    inner = {"type": "object", "properties": {"x": {"type": "string"}}}
    for wanted in ({"properties": {"a": inner}, "required": ["b"]}, {"required": ["b"], "properties": {"a": inner}}):
        with pytest.raises(AnswerMismatch, match="'b' is a required property"):
            validate('{"a": {"x": 1}}', {"type": "object", **wanted})


def test_a_word_that_is_repeated_in_a_choice_counts_once() -> None:
    assert parse("size:small|large|small")["properties"]["size"]["enum"] == ["small", "large"]


@pytest.mark.parametrize(
    ("text", "schema", "fits"),
    [("1", {}, False), ("1.5", {"type": "number"}, False), ("true", {"type": "boolean"}, True), ('"1"', {}, True), ("[1]", {}, True)],
)  # fmt: skip
def test_of_a_cut_answer_a_lone_number_is_refused_and_what_is_whole_is_not(text: str, schema: Any, fits: bool) -> None:
    assert validate(text, schema) == json.loads(text)
    if fits:
        assert validate(text, schema, truncated=True) == json.loads(text)
    else:
        with pytest.raises(AnswerMismatch, match="cut off before its JSON was complete"):
            validate(text, schema, truncated=True)


def test_a_question_states_its_schema_once_however_often_it_is_given() -> None:
    schema = parse("name")
    once = with_schema_prompt([user("What is it?")], schema)
    assert once[0].text.count(json.dumps(schema)) == 1
    assert with_schema_prompt(once, schema) == once


def test_a_number_of_hundreds_of_digits_is_too_large_for_a_fraction() -> None:
    with pytest.raises(AnswerMismatch, match="holds a number that is too large"):
        validate("1" + "0" * 400, {"multipleOf": 0.5})


ARRAYS = {f"a{number}": {"type": "array", "minItems": 50_000} for number in range(5)}
PATTERNS = {f"p{number}": {"type": "string", "pattern": "a"} for number in range(201)}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "array", "minItems": 100_000}, ""),
        ({"type": "array", "minItems": 100_001}, "minItems is over 100,000"),
        ({"properties": {name: ARRAYS[name] for name in list(ARRAYS)[:4]}}, ""),
        ({"properties": ARRAYS}, "sum to more than 200,000"),
        ({"properties": {name: PATTERNS[name] for name in list(PATTERNS)[:200]}}, ""),
        ({"properties": PATTERNS}, "more than 200 patterns"),
    ],
    ids=["items", "too many items", "arrays", "too many in all", "patterns", "too many patterns"],
)
def test_a_schema_that_counts_too_far_is_refused(schema: dict[str, Any], why: str) -> None:
    if not why:
        check_limits(schema)
        return
    with pytest.raises(UsageError, match=why):
        check_limits(schema)
