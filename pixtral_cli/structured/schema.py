"""Reads JSON schemas (from JSON, a file or the short form of `structured.shorthand`) and validates answers against them.

References to other documents are never fetched.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pixtral_cli.chat.message import Message
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.structured import shorthand
from pixtral_cli.structured.schema_check import (
    SCHEMA_HINT,
    check,
    explain,
    hashable,
    one_line,
    path_text,
    validator_class,
)
from pixtral_cli.util.sanitize import visible

if TYPE_CHECKING:
    from jsonschema.exceptions import SchemaError, ValidationError  # type: ignore[import-untyped]

MAX_SCHEMA_BYTES = 1_000_000  # bytes of a schema
SCHEMA_PROMPT = "Answer with JSON that satisfies this JSON schema, and with nothing else:"
PATHLIKE = re.compile(r"[./~].*|.*[/\\].*|.*\.(json|txt|schema)", re.IGNORECASE)


class AnswerMismatch(PixtralError):
    """An answer that is not what was asked for: no JSON, not valid against its schema, or without its code block."""


def parse(text: str, *, files: bool = True) -> dict[str, Any]:
    """The JSON schema that `text` is, in JSON or in short form, or that is in the file of this name (if `files`).

    Raises UsageError when there is no such file, it is not JSON or no JSON schema, or a `$ref` has no target within it.
    """
    stripped = text.strip()
    if not stripped:
        raise UsageError("The schema is empty", SCHEMA_HINT)
    if stripped[0] == "{":
        return _from_json(stripped, "The schema")
    if files and "\n" not in stripped and (content := _read_file(stripped)) is not None:
        where = f"The schema in {visible(stripped, 60)}"
        return _from_json(content, where) if content[:1] == "{" else _from_shorthand(content, where)
    return _from_shorthand(stripped, "The schema")


def validate(text: str, schema: dict[str, Any], *, truncated: bool = False) -> Any:
    """The JSON value of an answer. Raises AnswerMismatch, which names the place, if it does not satisfy the schema.

    `truncated`: the answer ended at its token limit. Then a lone number is refused, since digits may be missing.
    """
    if not truncated:
        return _validated(text, schema)
    try:
        value = _validated(text, schema)
    except AnswerMismatch:
        value = 0
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise AnswerMismatch(
            "The answer was cut off before its JSON was complete", "Raise --max-tokens, or ask for less"
        )
    return value


def _validated(text: str, schema: dict[str, Any]) -> Any:
    from jsonschema.validators import extend  # type: ignore[import-untyped]
    from referencing import Registry

    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite_float)
        validator = extend(validator_class(schema), {"uniqueItems": _unique_items})(
            schema, registry=Registry()
        )  # fetches nothing
        error = min(validator.iter_errors(value), key=_depth, default=None)
    except ValueError as error:
        raise AnswerMismatch(one_line(f"The answer is not valid JSON: {_json_error_text(error)}")) from None
    except OverflowError:  # a number of hundreds of digits, compared with a fraction
        raise AnswerMismatch("The answer holds a number that is too large") from None
    except RecursionError:
        raise AnswerMismatch("The answer is nested too deep to be checked against the schema") from None
    if error is not None:
        raise AnswerMismatch(
            one_line(f"The answer does not satisfy the schema{path_text(error.absolute_path)}: {explain(error)}")
        )
    return value


def with_schema_prompt(messages: Sequence[Message], schema: dict[str, Any] | None) -> tuple[Message, ...]:
    """The messages, the last of which (if it is a user's) states the schema at its end. Idempotent.

    The schema comes last so that the KV cache of everything before it stays valid.
    """
    if schema is None or not messages or messages[-1].role != "user":
        return tuple(messages)
    *before, last = messages
    prompt = f"{SCHEMA_PROMPT}\n{json.dumps(schema, ensure_ascii=False)}"
    if last.text.endswith(prompt):
        return (*before, last)
    return (*before, replace(last, parts=(*last.parts, f"\n\n{prompt}" if last.text.strip() else prompt)))


def _from_shorthand(text: str, where: str) -> dict[str, Any]:
    try:
        return shorthand.parse(text)
    except shorthand.ShorthandError as error:
        raise UsageError(one_line(f"{where}: {error}"), shorthand.SHORTHAND_HINT) from None


def _read_file(name: str) -> str | None:
    """The text of the file `name`; None when there is none and the name does not look like that of a file."""
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            if not PATHLIKE.fullmatch(name):
                return None
            raise UsageError(f"{visible(name, 60)} is a directory", "Name a file with a JSON schema")
        with path.open("rb") as file:
            data = file.read(MAX_SCHEMA_BYTES + 1)
        if len(data) > MAX_SCHEMA_BYTES:
            raise UsageError(
                f"{visible(name, 60)} is no schema: it is larger than {MAX_SCHEMA_BYTES // 10**6} MB", SCHEMA_HINT
            )
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise UsageError(f"{visible(name, 60)} is not text", "Name a file with a JSON schema") from None
    except FileNotFoundError:
        if PATHLIKE.fullmatch(name) and not re.search(r"[\s,:]", name):
            raise UsageError(f"There is no file {visible(name, 80)}", SCHEMA_HINT) from None
        return None
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, PermissionError):
            raise UsageError(f"{visible(name, 60)} cannot be read: {error.strerror}", "Check its permissions") from None
        return None


def _from_json(text: str, where: str) -> dict[str, Any]:
    try:
        schema = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise UsageError(one_line(f"{where} is not valid JSON: {_json_error_text(error)}"), SCHEMA_HINT) from None
    except RecursionError:
        raise UsageError(f"{where} nests too deep") from None
    return check(schema, where)


def _unique_items(validator: Any, unique: Any, instance: Any, schema: Any) -> "Iterator[ValidationError]":
    """Validates the keyword `uniqueItems` by hashing; jsonschema compares every pair."""
    from jsonschema.exceptions import ValidationError

    if unique and validator.is_type(instance, "array") and len(set(map(hashable, instance))) < len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite_float(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(f"{number[:20]} is too large a number")
    return value


def _json_error_text(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    return str(error)


def _depth(error: "ValidationError | SchemaError") -> int:
    """The depth of an error in the value. The outermost error is reported: a missing field before an invalid one inside."""
    return len(error.absolute_path)
