"""Checks JSON schemas: valid under their draft, with known keywords, and with references that stay within the schema."""

import json
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pixtral_cli.errors import UsageError
from pixtral_cli.util.sanitize import visible

if TYPE_CHECKING:
    from jsonschema.exceptions import SchemaError, ValidationError  # type: ignore[import-untyped]
    from jsonschema.protocols import Validator  # type: ignore[import-untyped]

MAX_ENUM_CHECKED = 64  # values of an enum that jsonschema is given to check
SCHEMA_HINT = "Name a file, or write 'name, price:float, [tags]' or a JSON schema"
ANNOTATIONS = frozenset({"$schema", "$id", "$defs", "definitions", "title", "description"})  # they constrain nothing
COMBINATORS = ("allOf", "anyOf", "oneOf")
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
VALUE_KEYWORDS = frozenset({"enum", "const", "default", "example", "examples"})  # whose values are not schemas


def check(schema: Any, where: str = "The schema") -> dict[str, Any]:
    """The schema, unchanged. Raises UsageError, with a message that begins with `where`, when it is invalid."""
    if not isinstance(schema, dict):
        raise UsageError(f"{where} must be a JSON object, not {_type_name(schema)}", SCHEMA_HINT)
    try:
        json.dumps(schema, ensure_ascii=False, allow_nan=False).encode()
        _check(schema, where)
    except ValueError:
        raise UsageError(f"{where} holds a lone surrogate, NaN or Infinity") from None
    except RecursionError:
        raise UsageError(f"{where} refers to itself without end, or nests too deep") from None
    return schema


def _check(schema: dict[str, Any], where: str) -> None:
    from jsonschema.exceptions import SchemaError

    draft = validator_class(schema)
    try:
        with warnings.catch_warnings(action="ignore"):  # Python's FutureWarnings about patterns
            draft.check_schema(_with_short_enums(schema), format_checker=draft.FORMAT_CHECKER)
    except OverflowError:  # Python's, for a pattern that repeats too often
        raise UsageError(f"{where} repeats something in a pattern too often") from None
    except SchemaError as error:
        raise UsageError(
            one_line(f"{where} is no JSON schema{path_text(error.absolute_path)}: {explain(error)}")
        ) from None
    _ReferenceChecker(schema, where).check()
    known = ANNOTATIONS | set(draft.VALIDATORS)
    if schema and not known & set(schema):
        names = ", ".join(map(str, list(schema)[:3]))
        raise UsageError(
            one_line(f"{where} has none of a JSON schema's keywords, only: {visible(names)}"),
            'Such as {"type": "object", "properties": {"name": {"type": "string"}}}',
        )


def _with_short_enums(part: Any) -> Any:
    """The schema with long enums cut, a duplicate kept: older drafts forbid duplicates, and jsonschema compares every pair."""
    if isinstance(part, list):
        return [_with_short_enums(item) for item in part]
    if not isinstance(part, dict):
        return part
    copy = {name: value if name in VALUE_KEYWORDS else _with_short_enums(value) for name, value in part.items()}
    if isinstance(values := part.get("enum"), list) and len(values) > MAX_ENUM_CHECKED:
        counts = Counter(map(hashable, values))
        duplicates = [value for value in values if counts[hashable(value)] > 1]
        copy["enum"] = values[:MAX_ENUM_CHECKED] + duplicates[:1] * 2
    return copy


def hashable(value: Any) -> Any:
    """A hashable key, equal for equal JSON values only: 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(value, dict):
        return frozenset((name, hashable(item)) for name, item in value.items())
    if isinstance(value, list):
        return tuple(map(hashable, value))
    return (type(value) is bool, value)


class _ReferenceChecker:
    """Checks that the references of a schema have targets within it, and that no schema refers to itself in place."""

    def __init__(self, schema: dict[str, Any], where: str) -> None:
        from referencing import Registry
        from referencing.jsonschema import DRAFT202012

        self._schema, self._where = schema, where
        self._resolver = Registry[Any]().with_resource("", DRAFT202012.create_resource(schema)).resolver()
        self._acyclic: set[int] = set()  # ids of the parts that are known to have no circular references

    def check(self) -> None:
        """Raises UsageError for a reference without a target, RecursionError for a circular one."""
        for part in _subschemas(self._schema):
            self._follow(part, ())

    def _follow(self, part: Any, ancestors: tuple[int, ...]) -> None:
        """Visit every subschema that applies to the same value as `part`, each once."""
        if not isinstance(part, dict) or id(part) in self._acyclic:
            return
        if id(part) in ancestors:
            raise RecursionError
        subschemas = [item for name in COMBINATORS if isinstance(items := part.get(name), list) for item in items]
        subschemas += [part.get(name) for name in ("not", "if", "then", "else")]
        subschemas += [self._lookup(part[name]) for name in REFERENCES if isinstance(part.get(name), str)]
        for subschema in subschemas:
            self._follow(subschema, (*ancestors, id(part)))
        self._acyclic.add(id(part))

    def _lookup(self, reference: str) -> Any:
        """The target of a reference. Raises UsageError."""
        from referencing.exceptions import Unresolvable

        if not reference.startswith("#"):
            raise UsageError(
                one_line(f"{self._where} refers to {visible(reference, 60)}: only its own parts (#…) are looked up"),
                "Copy what it refers to into $defs",
            )
        try:
            return self._resolver.lookup(reference).contents
        except (Unresolvable, ValueError, LookupError):
            raise UsageError(one_line(f"{self._where} has no {visible(reference, 60)}, which a $ref names")) from None


def _subschemas(part: Any) -> Iterator[dict[str, Any]]:
    """Every object of a schema that may be a schema."""
    if isinstance(part, dict):
        yield part
        for name, value in part.items():
            if name not in VALUE_KEYWORDS or isinstance(value, dict):
                yield from _subschemas(value)
    elif isinstance(part, list):
        for item in part:
            yield from _subschemas(item)


def validator_class(schema: dict[str, Any]) -> "type[Validator]":
    """The validator of the draft that the schema names in `$schema`; by default that of 2020-12."""
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
    from jsonschema.validators import validator_for  # type: ignore[import-untyped]

    named = isinstance(schema.get("$schema"), str)
    draft: type[Validator] = validator_for(schema, Draft202012Validator) if named else Draft202012Validator
    return draft


def explain(error: "ValidationError | SchemaError") -> str:
    """The error's message; where a long value precedes it, the keyword and its value instead."""
    return (
        error.message if len(error.message) <= 60 else f"against {error.validator} {json.dumps(error.validator_value)}"
    )


def path_text(path: Any) -> str:
    """A path in a JSON value, such as ` at items[2].price`; "" for the value itself."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
    return f" at {visible(steps, 50)}" if steps else ""


def _type_name(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def one_line(text: str) -> str:
    """The text on one line of at most 120 characters, control characters visible."""
    text = visible(text)
    return text if len(text) <= 120 else f"{text[:119]}…"
