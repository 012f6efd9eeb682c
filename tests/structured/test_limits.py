"""The exact bounds of schemas: how deep the short form nests, how many patterns are checked without a process of their own."""

import pytest

from pixtral_cli.structured import shorthand
from pixtral_cli.structured.schema_limits import SIMPLE_PATTERNS, is_simple


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
