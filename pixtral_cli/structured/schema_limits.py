"""Limits on the work that a JSON schema may cause, and which schemas are small enough to be compiled in this process."""

import math
from collections.abc import Iterator
from typing import Any

from pixtral_cli.errors import UsageError
from pixtral_cli.structured.schema_check import REFERENCES

MAX_COUNT = 100_000  # items or properties that one keyword may count
MAX_COUNTS = 200_000  # the sum over all such keywords of a schema
MAX_PATTERNS = 200
COUNTS = frozenset({"minItems", "maxItems", "minProperties", "maxProperties"})
LENGTHS = frozenset({"minLength", "maxLength"})
# The limits of a schema that compiles in milliseconds; any other is compiled in a process with limits.
SIMPLE_EXPANDED = 1_000  # objects and arrays, references expanded
SIMPLE_ITEMS = 1_000  # the sum of the counts of items and properties
SIMPLE_LENGTH = 1_000  # the sum of minLength and maxLength
SIMPLE_PATTERNS = 4
SIMPLE_PATTERN = 100  # characters of a pattern
SIMPLE_VALUES = 1_000  # elements of arrays, such as enums


def check_limits(schema: dict[str, Any]) -> None:
    """Raises UsageError for a schema whose counts are beyond the limits, or that nests too deep."""
    try:
        _check(schema)
    except RecursionError:
        raise UsageError("The schema nests too deep") from None


def _check(schema: dict[str, Any]) -> None:
    limits = list(numbers(schema))
    for name, value in limits:
        if name in COUNTS and value > MAX_COUNT:
            raise UsageError(f"The schema cannot be enforced: {name} is over {MAX_COUNT:,}", "Leave it out")
    if sum(value for name, value in limits if name in COUNTS and value > 0) > MAX_COUNTS:
        raise UsageError(f"The schema's counts of items sum to more than {MAX_COUNTS:,}", "Lower minItems and maxItems")
    if sum(1 for _ in _patterns(schema)) > MAX_PATTERNS:
        raise UsageError(f"The schema has more than {MAX_PATTERNS} patterns", "Leave some out")


def is_simple(schema: dict[str, Any]) -> bool:
    """Whether the schema is so small that it can be checked and compiled in this process without delay."""
    counts, patterns = list(numbers(schema)), list(_patterns(schema))
    return (
        _expanded_size(schema, schema, {}, frozenset()) <= SIMPLE_EXPANDED
        and sum(value for name, value in counts if name in COUNTS and value > 0) <= SIMPLE_ITEMS
        and sum(value for name, value in counts if name in LENGTHS and value > 0) <= SIMPLE_LENGTH
        and len(patterns) <= SIMPLE_PATTERNS
        and all(len(pattern) <= SIMPLE_PATTERN for pattern in patterns)
        and not (len(patterns) > 1 and any("allOf" in part for part in _objects(schema)))
        and sum(len(value) for part in _objects(schema) for value in part.values() if isinstance(value, list))
        <= SIMPLE_VALUES
    )


def _expanded_size(part: Any, root: dict[str, Any], known: dict[int, float], active: frozenset[int]) -> float:
    """The number of objects and arrays below `part` once every reference is replaced by its target; a cycle counts once."""
    if not isinstance(part, dict | list) or id(part) in active:
        return 1
    if id(part) not in known:
        below = part.values() if isinstance(part, dict) else part
        inside = active | {id(part)}
        size = 1 + sum(_expanded_size(item, root, known, inside) for item in below if isinstance(item, dict | list))
        if isinstance(part, dict):
            for name in REFERENCES:
                if isinstance(reference := part.get(name), str):
                    size += _expanded_size(_target(root, reference), root, known, inside)
        known[id(part)] = min(size, math.inf)
    return known[id(part)]


def _target(root: dict[str, Any], reference: str) -> Any:
    """The target of a JSON pointer; for an anchor, which this does not resolve, the whole schema."""
    part: Any = root
    for step in reference.removeprefix("#").split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(part, list) and key.isdecimal() and int(key) < len(part):
            part = part[int(key)]
        elif isinstance(part, dict):
            part = part.get(key)
    return part


def _objects(part: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object in `part`, itself included."""
    if isinstance(part, dict):
        yield part
    for item in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _objects(item)


def numbers(schema: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Every keyword with a numeric value in the schema, and that value."""
    for part in _objects(schema):
        for name, value in part.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield name, value


def _patterns(schema: dict[str, Any]) -> Iterator[str]:
    for part in _objects(schema):
        if isinstance(pattern := part.get("pattern"), str):
            yield pattern
        if isinstance(named := part.get("patternProperties"), dict):
            yield from named
