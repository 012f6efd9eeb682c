"""The exact bounds of schemas: how deep the short form nests, how many patterns are checked without a process of their own."""

from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.errors import UsageError
from pixtral_cli.structured import shorthand
from pixtral_cli.structured.schema import parse
from pixtral_cli.structured.schema_limits import SIMPLE_PATTERNS, check_limits, is_simple


@pytest.mark.parametrize(("open_", "close"), [("a{", "}"), ("a[", "]")])
def test_the_short_form_nests_32_deep_and_no_deeper(open_: str, close: str) -> None:
    assert shorthand.parse(open_ * 32 + "b" + close * 32)["type"] == "object"
    with pytest.raises(shorthand.ShorthandError, match="nests too deep"):
        shorthand.parse(open_ * 33 + "b" + close * 33)


def test_lists_of_lists_nest_no_deeper_either() -> None:
    assert shorthand.parse("x, " + "[" * 32 + "b" + "]" * 32)["type"] == "object"
    with pytest.raises(shorthand.ShorthandError, match="nests too deep"):
        shorthand.parse("x, " + "[" * 33 + "b" + "]" * 33)


def patterned(count: int) -> dict[str, object]:
    return {"type": "object", "properties": {f"a{n}": {"type": "string", "pattern": f"a{n}"} for n in range(count)}}


def test_so_many_patterns_are_simple_and_one_more_is_not() -> None:
    assert SIMPLE_PATTERNS == 4
    assert is_simple(patterned(4))
    assert not is_simple(patterned(5))
    assert not is_simple({"type": "object", "patternProperties": {f"a{n}": {} for n in range(5)}})


def item_counts(count: int) -> dict[str, object]:
    return {"type": "array", "items": {}, "maxItems": count}


def words(length: int) -> dict[str, object]:
    return {"type": "string", "maxLength": length}


def sums(*counts: int) -> dict[str, object]:
    return {"properties": {f"a{n}": item_counts(count) for n, count in enumerate(counts)}}


@pytest.mark.parametrize(
    ("most", "over", "says"),
    [
        (item_counts(100_000), item_counts(100_001), "maxItems is over 100,000"),
        ({"minItems": 100_000}, {"minItems": 100_001}, "minItems is over 100,000"),
        ({"minProperties": 100_000}, {"minProperties": 100_001}, "minProperties is over 100,000"),
        ({"maxProperties": 100_000}, {"maxProperties": 100_001}, "maxProperties is over 100,000"),
        (sums(100_000, 100_000), sums(100_000, 100_000, 1), "sum to more than 200,000"),
        (patterned(200), patterned(201), "more than 200 patterns"),
    ],
)
def test_a_schema_is_checked_up_to_its_limits(most: dict[str, Any], over: dict[str, Any], says: str) -> None:
    check_limits(most)
    with pytest.raises(UsageError, match=says):
        check_limits(over)


@pytest.mark.parametrize(
    ("most", "over"),
    [
        (sums(400, 600), sums(400, 601)),
        (words(1_000), words(1_001)),
        ({"minLength": 500, "maxLength": 500}, {"minLength": 500, "maxLength": 501}),
        ({"pattern": "a" * 100}, {"pattern": "a" * 101}),
        ({"enum": list(range(1_000))}, {"enum": list(range(1_001))}),
        ({"anyOf": [{"pattern": "a"}, {"pattern": "b"}]}, {"allOf": [{"pattern": "a"}, {"pattern": "b"}]}),
        # the schema, its list, its $defs, and the objects: 1,000 in all
        ({"allOf": [{} for _ in range(998)]}, {"allOf": [{} for _ in range(999)]}),
        (
            {"$defs": {"a": {}}, "allOf": [{"$ref": "#/$defs/a"} for _ in range(498)]},
            {"$defs": {"a": {}}, "allOf": [{"$ref": "#/$defs/a"} for _ in range(499)]},
        ),
    ],
)
def test_a_simple_schema_is_so_large_and_no_larger(most: dict[str, Any], over: dict[str, Any]) -> None:
    assert is_simple(most)
    assert not is_simple(over)


def test_a_schema_file_of_a_megabyte_is_read_and_a_larger_one_refused(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    text = '{"type": "object"}'
    file.write_text(text + " " * (1_000_000 - len(text)))
    assert parse(str(file)) == {"type": "object"}
    file.write_text(text + " " * (1_000_001 - len(text)))
    with pytest.raises(UsageError, match="larger than 1 MB"):
        parse(str(file))
