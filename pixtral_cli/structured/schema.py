"""JSON schemas an answer must satisfy: read from a file, from JSON or from the short form, and held against an answer.

Leaves the short form's grammar to `chat.shorthand`, decoding under a schema to the engines. Fetches nothing, ever.
"""

import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pixtral_cli.chat.message import Message
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.structured import shorthand
from pixtral_cli.util.sanitize import visible

if TYPE_CHECKING:
    from jsonschema.exceptions import SchemaError, ValidationError  # type: ignore[import-untyped]
    from jsonschema.protocols import Validator  # type: ignore[import-untyped]

MANY_VALUES = 64  # of an enum
MAX_BYTES = 1_000_000  # bytes of a schema
SCHEMA_PROMPT = "Answer with JSON that satisfies this JSON schema, and with nothing else:"
HINT = "Name a file, or write 'name, price:float, [tags]' or a JSON schema"
PATHLIKE = re.compile(r"[./~].*|.*[/\\].*|.*\.(json|txt|schema)", re.IGNORECASE)
ANNOTATIONS = frozenset({"$schema", "$id", "$defs", "definitions", "title", "description"})  # that forbid nothing
COMBINATORS = ("allOf", "anyOf", "oneOf")
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
VALUE_KEYWORDS = frozenset({"enum", "const", "default", "example", "examples"})  # their values are no schemas


class AnswerMismatch(PixtralError):
    """An answer that is not what was asked for: not JSON, not of its schema, or without its code block."""


def parse(text: str) -> dict[str, Any]:
    """The schema that `text` is, or that lies in the file it names: a JSON schema, or `chat.shorthand`'s short form.

    Raises UsageError, saying what is wrong and where: no such file, not JSON, no JSON schema, a `$ref` that leads out
    of it or nowhere.
    """
    stripped = text.strip()
    if not stripped:
        raise UsageError("The schema is empty", HINT)
    if stripped[0] == "{":
        return _from_json(stripped, "The schema")
    if "\n" not in stripped and (found := _read(stripped)) is not None:
        where = f"The schema in {visible(stripped, 60)}"
        return _from_json(found, where) if found[:1] == "{" else _from_shorthand(found, where)
    return _from_shorthand(stripped, "The schema")


def check(schema: Any, where: str = "The schema") -> dict[str, Any]:
    """A JSON schema as it is. Raises UsageError, its message beginning with `where`, when it is none or not whole."""
    if not isinstance(schema, dict):
        raise UsageError(f"{where} must be a JSON object, not {_type_name(schema)}", HINT)
    try:
        json.dumps(schema, ensure_ascii=False, allow_nan=False).encode()
        _check(schema, where)
    except ValueError:
        raise UsageError(f"{where} holds a lone surrogate, NaN or Infinity") from None
    except RecursionError:
        raise UsageError(f"{where} refers to itself without end, or nests too deep") from None
    return schema


def validate(text: str, schema: dict[str, Any], *, cut: bool = False) -> Any:
    """The value of an answer that satisfies the schema. Raises Unfit, saying where it does not.

    `cut`: the answer ended because it might not be longer. Then a number is none, for more digits may have followed.
    """
    if not cut:
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
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        validator = extend(_validator_class(schema), {"uniqueItems": _unique_items})(
            schema, registry=Registry()
        )  # fetches nothing
        error = min(validator.iter_errors(value), key=_depth, default=None)
    except ValueError as error:
        raise AnswerMismatch(_one_line(f"The answer is not valid JSON: {_reason(error)}")) from None
    except OverflowError:  # a number of hundreds of digits, held against a fraction
        raise AnswerMismatch("The answer holds a number that is too large") from None
    except RecursionError:
        raise AnswerMismatch("The answer is nested too deep to be held against the schema") from None
    if error is not None:
        raise AnswerMismatch(
            _one_line(f"The answer does not satisfy the schema{_place(error.absolute_path)}: {_explain(error)}")
        )
    return value


def with_schema_prompt(messages: Sequence[Message], schema: dict[str, Any] | None) -> tuple[Message, ...]:
    """The conversation with its last question, if it ends with one, saying what the answer must be; twice told is once told.

    It stands at the very end, so that what a model has computed of the images and the talk before it is still good.
    """
    if schema is None or not messages or messages[-1].role != "user":
        return tuple(messages)
    *before, last = messages
    asked = f"{SCHEMA_PROMPT}\n{json.dumps(schema, ensure_ascii=False)}"
    if last.text.endswith(asked):
        return (*before, last)
    return (*before, replace(last, parts=(*last.parts, f"\n\n{asked}" if last.text.strip() else asked)))


def _from_shorthand(text: str, where: str) -> dict[str, Any]:
    try:
        return shorthand.parse(text)
    except shorthand.ShorthandError as error:
        raise UsageError(_one_line(f"{where}: {error}"), shorthand.HINT) from None


def _read(name: str) -> str | None:
    """What lies in the file of this name; None when there is none and the name does not look like a file's."""
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            if not PATHLIKE.fullmatch(name):
                return None
            raise UsageError(f"{visible(name, 60)} is a directory", "Name a file with a JSON schema")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(f"{visible(name, 60)} holds more than a schema: over {MAX_BYTES // 10**6} MB")
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise UsageError(f"{visible(name, 60)} is not text", "Name a file with a JSON schema") from None
    except FileNotFoundError:
        if PATHLIKE.fullmatch(name) and not re.search(r"[\s,:]", name):
            raise UsageError(f"There is no file {visible(name, 80)}", HINT) from None
        return None
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, PermissionError):
            raise UsageError(f"{visible(name, 60)} cannot be read: {error.strerror}") from None
        return None


def _from_json(text: str, where: str) -> dict[str, Any]:
    try:
        schema = json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise UsageError(_one_line(f"{where} is not valid JSON: {_reason(error)}"), HINT) from None
    except RecursionError:
        raise UsageError(f"{where} nests too deep") from None
    return check(schema, where)


def _check(schema: dict[str, Any], where: str) -> None:
    from jsonschema.exceptions import SchemaError

    draft = _validator_class(schema)
    try:
        with warnings.catch_warnings(action="ignore"):  # Python's, of patterns that it reads otherwise one day
            draft.check_schema(_shortened(schema), format_checker=draft.FORMAT_CHECKER)
    except OverflowError:  # Python's, for a pattern that repeats too often
        raise UsageError(f"{where} repeats something in a pattern too often") from None
    except SchemaError as error:
        raise UsageError(
            _one_line(f"{where} is no JSON schema{_place(error.absolute_path)}: {_explain(error)}")
        ) from None
    _ReferenceChecker(schema, where).check()
    known = ANNOTATIONS | set(draft.VALIDATORS)
    if schema and not known & set(schema):
        names = ", ".join(map(str, list(schema)[:3]))
        raise UsageError(
            _one_line(f"{where} has none of a JSON schema's keywords, only: {visible(names)}"),
            'Such as {"type": "object", "properties": {"name": {"type": "string"}}}',
        )


def _shortened(part: Any) -> Any:
    """The schema with long enums cut: older drafts want their values to be unique, and jsonschema compares every pair."""
    if isinstance(part, list):
        return [_shortened(one) for one in part]
    if not isinstance(part, dict):
        return part
    copy = {name: value if name in VALUE_KEYWORDS else _shortened(value) for name, value in part.items()}
    if isinstance(values := part.get("enum"), list) and len(values) > MANY_VALUES:
        counts = Counter(map(hashable, values))
        twice = [value for value in values if counts[hashable(value)] > 1]
        copy["enum"] = values[:MANY_VALUES] + twice[:1] * 2
    return copy


def hashable(value: Any) -> Any:
    """A key that is equal for equal JSON values: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, dict):
        return frozenset((name, hashable(one)) for name, one in value.items())
    if isinstance(value, list):
        return tuple(map(hashable, value))
    return (type(value) is bool, value)


def _unique_items(validator: Any, unique: Any, instance: Any, schema: Any) -> "Iterator[ValidationError]":
    """jsonschema's keyword `uniqueItems`, by hash instead of comparing every pair."""
    from jsonschema.exceptions import ValidationError

    if unique and validator.is_type(instance, "array") and len(set(map(hashable, instance))) < len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


class _ReferenceChecker:
    """Where the references of a schema lead: nowhere outside of it, and not back to themselves."""

    def __init__(self, schema: dict[str, Any], where: str) -> None:
        from referencing import Registry
        from referencing.jsonschema import DRAFT202012

        self._schema, self._where = schema, where
        self._resolver = Registry[Any]().with_resource("", DRAFT202012.create_resource(schema)).resolver()
        self._sound: set[int] = set()  # ids of parts that are known to end

    def check(self) -> None:
        """Raises UsageError naming the reference that is wrong."""
        for part in _subschemas(self._schema):
            self._follow(part, ())

    def _follow(self, part: Any, behind: tuple[int, ...]) -> None:
        """Go to every part that speaks of the same value as this one, each once."""
        if not isinstance(part, dict) or id(part) in self._sound:
            return
        if id(part) in behind:
            raise RecursionError
        same = [one for name in COMBINATORS if isinstance(many := part.get(name), list) for one in many]
        same += [part.get(name) for name in ("not", "if", "then", "else")]
        same += [self._lookup(part[name]) for name in REFERENCES if isinstance(part.get(name), str)]
        for one in same:
            self._follow(one, (*behind, id(part)))
        self._sound.add(id(part))

    def _lookup(self, reference: str) -> Any:
        from referencing.exceptions import Unresolvable

        if not reference.startswith("#"):
            raise UsageError(
                _one_line(f"{self._where} refers to {visible(reference, 60)}: only its own parts (#…) are looked up"),
                "Copy what it refers to into $defs",
            )
        try:
            return self._resolver.lookup(reference).contents
        except (Unresolvable, ValueError, LookupError):
            raise UsageError(_one_line(f"{self._where} has no {visible(reference, 60)}, which a $ref names")) from None


def _subschemas(part: Any) -> Iterator[dict[str, Any]]:
    """Every object of a schema that may be a schema."""
    if isinstance(part, dict):
        yield part
        for name, value in part.items():
            if name not in VALUE_KEYWORDS or isinstance(value, dict):
                yield from _subschemas(value)
    elif isinstance(part, list):
        for one in part:
            yield from _subschemas(one)


def _validator_class(schema: dict[str, Any]) -> "type[Validator]":
    """The validators of the draft that the schema names; of 2020-12 if it names none."""
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
    from jsonschema.validators import validator_for

    named = isinstance(schema.get("$schema"), str)
    draft: type[Validator] = validator_for(schema, Draft202012Validator) if named else Draft202012Validator
    return draft


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(f"{number[:20]} is too large a number")
    return value


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    return str(error)


def _depth(error: "ValidationError | SchemaError") -> int:
    """Of several complaints the outermost is told, the first of those: a missing field before a wrong one inside."""
    return len(error.absolute_path)


def _explain(error: "ValidationError | SchemaError") -> str:
    """What is wrong, without a long value in front of it."""
    return (
        error.message if len(error.message) <= 60 else f"against {error.validator} {json.dumps(error.validator_value)}"
    )


def _place(path: Any) -> str:
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
    return f" at {visible(steps, 50)}" if steps else ""


def _type_name(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _one_line(text: str) -> str:
    text = visible(text)
    return text if len(text) <= 120 else f"{text[:119]}…"
