"""Compiles a JSON schema to an llguidance grammar. Imports no torch."""

import hashlib
import json
import threading
from decimal import Decimal
from typing import Any

from llguidance import LLMatcher, LLParserLimits

from pixtral_cli.engines.local.generation.schema_process import try_schema
from pixtral_cli.errors import UsageError
from pixtral_cli.structured.schema_limits import check_limits, is_simple, numbers
from pixtral_cli.util.lru import LruCache

# At most one space after a comma and a colon: small models may otherwise repeat white space without end.
GRAMMAR_OPTIONS: dict[str, Any] = {
    "whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?",
    "lenient": False, "coerce_one_of": False,
}  # fmt: skip
MAX_REMAINDERS = 20_000  # states that llguidance may need for multipleOf
LIMITS = LLParserLimits(max_lexer_states=50_000, verbose_errors=False)  # a state is about 2 kB
CACHE_CHARACTERS = 4_000_000  # of grammars
_grammars: LruCache[bytes, str] = LruCache(CACHE_CHARACTERS)


def compile_schema(schema: dict[str, Any], cancelled: threading.Event | None = None) -> str:
    """The grammar of the texts that satisfy the schema.

    Raises UsageError for a schema that llguidance does not support. A schema that is not simple is first compiled in a
    process with limits, which raises `schema_process.Cancelled` once the event is set. Grammars are cached by the
    schema's content.
    """
    text = json.dumps(schema)
    key = hashlib.sha256(text.encode()).digest()
    if (grammar := _grammars.get(key)) is not None:
        return grammar
    check_limits(schema)
    _check_remainders(schema)
    if is_simple(schema):
        grammar = compile_grammar(schema)
    else:
        try_schema(text, cancelled)
        grammar = _grammar(schema)
    _grammars.put(key, grammar, len(grammar))
    return grammar


def is_compiled(schema: dict[str, Any]) -> bool:
    """Whether the schema's grammar is in the cache."""
    return _grammars.get(hashlib.sha256(json.dumps(schema).encode()).digest()) is not None


def compile_grammar(schema: dict[str, Any]) -> str:
    """The grammar, compiled in this process without limits of time and memory. Raises UsageError."""
    try:
        grammar = _grammar(schema)
        why = LLMatcher.validate_grammar(grammar, limits=LIMITS)
    except (ValueError, RecursionError) as error:  # nested too deeply
        why = str(error)
    if why:
        raise UsageError(shorten(f"The schema cannot be enforced: {why}"), "Leave that out of the schema")
    return grammar


def _grammar(schema: dict[str, Any]) -> str:
    # "x-guidance" is llguidance's own keyword, which could relax the options.
    plain = {name: value for name, value in schema.items() if name != "x-guidance"}
    return str(LLMatcher.grammar_from_json_schema(json.dumps(plain), overrides=GRAMMAR_OPTIONS))  # type: ignore[arg-type]


def _check_remainders(schema: dict[str, Any]) -> None:
    """Raises UsageError for `multipleOf` values that need too many states in llguidance: one for each remainder."""
    remainders = 1
    for factor in {_remainder_count(value) for name, value in numbers(schema) if name == "multipleOf"}:
        remainders *= factor
    if remainders > MAX_REMAINDERS:
        raise UsageError(f"The schema cannot be enforced: multipleOf is over {MAX_REMAINDERS:,}", "Leave it out")


def _remainder_count(value: float) -> int:
    """The states for divisibility by a number: its digits without the factors 2 and 5, which the last digits decide."""
    digits = Decimal(str(value)).normalize().as_tuple().digits
    return max(1, int("".join(map(str, digits))))


def shorten(text: str) -> str:
    """A message of llguidance on one line of at most 120 characters."""
    text = " ".join(text.replace("<non-verbose/>", "").split())
    return text if len(text) <= 120 else f"{text[:119]}…"
