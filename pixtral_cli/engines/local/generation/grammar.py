"""A JSON schema as llguidance's grammar of the texts that satisfy it. Knows no tokens and brings no torch."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from llguidance import LLMatcher, LLParserLimits

from pixtral_cli.errors import UsageError

# One space or none after a comma and a colon: in more white space a small model loses itself until its tokens are spent.
STRICT: dict[str, Any] = {
    "whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?",
    "lenient": False, "coerce_one_of": False,
}  # fmt: skip
MOST_REMAINDERS = 20_000
MOST_ITEMS = 100_000
COUNTS = frozenset({"minItems", "maxItems", "minProperties", "maxProperties"})
LIMITS = LLParserLimits(max_lexer_states=50_000, verbose_errors=False)  # a state is about 2 kB


def compile_schema(schema: dict[str, Any]) -> str:
    """The grammar; raises UsageError for a schema that no grammar can hold an answer to."""
    own = {name: value for name, value in schema.items() if name != "x-guidance"}  # llguidance's, which would loosen it
    try:
        _check_size(own)
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(own), overrides=STRICT)  # type: ignore[arg-type]
        why = LLMatcher.validate_grammar(grammar, limits=LIMITS)
    except (ValueError, RecursionError) as error:  # it nests deeper than can be read
        why = str(error)
    if why:
        raise UsageError(cut(f"No answer can be held to this schema: {why}"), "Leave that out of the schema")
    return grammar


def _check_size(schema: dict[str, Any]) -> None:
    """Refuse what llguidance would unroll without end: a state for each remainder, a rule for each item."""
    remainders = 1
    for factor in {_factor(value) for name, value in _numbers(schema) if name == "multipleOf"}:
        remainders *= factor
    if remainders > MOST_REMAINDERS:
        raise UsageError(f"No answer can be held to this schema: multipleOf beyond {MOST_REMAINDERS:,}", "Leave it out")
    for name, value in _numbers(schema):
        if name in COUNTS and value > MOST_ITEMS:
            raise UsageError(f"No answer can be held to this schema: {name} beyond {MOST_ITEMS:,}", "Leave it out")


def _factor(value: float) -> int:
    """What is left of a number without its powers of ten: digits alone decide those."""
    digits = Decimal(str(value)).normalize().as_tuple().digits
    return max(1, int("".join(map(str, digits))))


def _numbers(part: Any) -> Iterator[tuple[str, float]]:
    for name, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield str(name), value
        else:
            yield from _numbers(value)


def cut(text: str) -> str:
    text = " ".join(text.replace("<non-verbose/>", "").split())
    return text if len(text) <= 120 else f"{text[:119]}…"
