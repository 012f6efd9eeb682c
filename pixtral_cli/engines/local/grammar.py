"""A JSON schema as llguidance's grammar of the texts that satisfy it. Knows no tokens and brings no torch."""

import json
from typing import Any

from llguidance import LLMatcher, LLParserLimits

from pixtral_cli.errors import UsageError

# One space or none after a comma and a colon: in more white space a small model loses itself until its tokens are spent.
STRICT: dict[str, Any] = {
    "whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?",
    "lenient": False, "coerce_one_of": False,
}  # fmt: skip
LIMITS = LLParserLimits(max_lexer_states=50_000, verbose_errors=False)  # a state is about 2 kB


def compile_schema(schema: dict[str, Any]) -> str:
    """The grammar; raises UsageError for a schema that no grammar can hold an answer to."""
    own = {name: value for name, value in schema.items() if name != "x-guidance"}  # llguidance's, which would loosen it
    try:
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(own), overrides=STRICT)  # type: ignore[arg-type]
        why = LLMatcher.validate_grammar(grammar, limits=LIMITS)
    except ValueError as error:  # it nests deeper than llguidance reads
        why = str(error)
    if why:
        raise UsageError(cut(f"No answer can be held to this schema: {why}"), "Leave that out of the schema")
    return grammar


def cut(text: str) -> str:
    text = " ".join(text.replace("<non-verbose/>", "").split())
    return text if len(text) <= 120 else f"{text[:119]}…"
