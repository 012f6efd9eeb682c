"""Compiles a JSON schema to an llguidance grammar. Imports no torch."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from llguidance import LLMatcher, LLParserLimits

from pixtral_cli.errors import UsageError

# At most one space after a comma and a colon: allowed more, a small model repeats white space until its tokens run out.
GRAMMAR_OPTIONS: dict[str, Any] = {
    "whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?",
    "lenient": False, "coerce_one_of": False,
}  # fmt: skip
MAX_REMAINDERS = 20_000
MAX_ITEMS = 100_000
COUNT_KEYWORDS = frozenset({"minItems", "maxItems", "minProperties", "maxProperties"})
LIMITS = LLParserLimits(max_lexer_states=50_000, verbose_errors=False)  # a state is about 2 kB


def compile_schema(schema: dict[str, Any]) -> str:
    """The grammar of the texts that satisfy the schema; raises UsageError for a schema that llguidance does not support."""
    plain = {
        name: value for name, value in schema.items() if name != "x-guidance"
    }  # llguidance's own keyword, which relaxes options
    try:
        _check_size(plain)
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(plain), overrides=GRAMMAR_OPTIONS)  # type: ignore[arg-type]
        why = LLMatcher.validate_grammar(grammar, limits=LIMITS)
    except (ValueError, RecursionError) as error:  # nested too deeply
        why = str(error)
    if why:
        raise UsageError(shorten(f"No answer can be held to this schema: {why}"), "Leave that out of the schema")
    return grammar


def _check_size(schema: dict[str, Any]) -> None:
    """Refuse what llguidance would expand too far: a state for each remainder, a rule for each item."""
    remainders = 1
    for factor in {_factor(value) for name, value in _numbers(schema) if name == "multipleOf"}:
        remainders *= factor
    if remainders > MAX_REMAINDERS:
        raise UsageError(f"No answer can be held to this schema: multipleOf beyond {MAX_REMAINDERS:,}", "Leave it out")
    for name, value in _numbers(schema):
        if name in COUNT_KEYWORDS and value > MAX_ITEMS:
            raise UsageError(f"No answer can be held to this schema: {name} beyond {MAX_ITEMS:,}", "Leave it out")


def _factor(value: float) -> int:
    """The number's significant digits as an integer: its powers of ten add no states."""
    digits = Decimal(str(value)).normalize().as_tuple().digits
    return max(1, int("".join(map(str, digits))))


def _numbers(part: Any) -> Iterator[tuple[str, float]]:
    for name, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield str(name), value
        else:
            yield from _numbers(value)


def shorten(text: str) -> str:
    """The text on one line of at most 120 characters."""
    text = " ".join(text.replace("<non-verbose/>", "").split())
    return text if len(text) <= 120 else f"{text[:119]}…"
