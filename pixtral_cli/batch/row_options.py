"""The fields of a row that say how it is answered, strict and bounded as the server's. Leaves messages and images to `requests`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pixtral_cli.api.messages import FieldError, expect
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.errors import UsageError
from pixtral_cli.structured import schema, shorthand

SAMPLED = frozenset({"temperature", "top_p", "max_tokens", "seed", "stop"})
NAMES = {"max_completion_tokens": "max_tokens", "random_seed": "seed"}  # OpenAI's newer name, La Plateforme's name
NO_EFFECT = frozenset(
    {"model", "messages", "response_format", "stream", "stream_options", "user", "metadata", "safety_identifier",
     "prompt_cache_key", "service_tier", "parallel_tool_calls"}
)  # fmt: skip
# Values that ask for nothing, beside null, false, 0 and what is empty.
NOTHING: Mapping[str, Sequence[Any]] = {
    "n": [1], "tool_choice": ["none", "auto"], "modalities": [["text"]], "reasoning_effort": ["none"],
}  # fmt: skip
MAX_STOPS, LONGEST_STOP = 16, 256
MAX_TOKENS = 10_000_000


def check(body: Mapping[str, Any]) -> None:
    """Raises FieldError for a field that asks for what no engine here does."""
    for name, value in body.items():
        if name in SAMPLED or name in NAMES or name in NO_EFFECT or not value:
            continue
        if value not in NOTHING.get(name, ()):
            raise FieldError(f"body.{name}", "is not supported")


def sampling(values: Mapping[str, Any], otherwise: Sampling, prefix: str = "") -> Sampling:
    """What a row says of its sampling over what holds for all. Raises FieldError; `prefix` leads to the fields."""
    given: dict[str, Any] = {
        "temperature": _number(values, "temperature", 0, 2, prefix),
        "top_p": _number(values, "top_p", 0, 1, prefix),
        "max_tokens": _whole(values, "max_tokens", 1, MAX_TOKENS, prefix),
        "seed": _whole(values, "seed", -(2**63), 2**63 - 1, prefix),
        "stop": _stop(values.get("stop"), f"{prefix}stop"),
    }
    for other, name in NAMES.items():
        if values.get(other) is not None:
            low, high = (1, MAX_TOKENS) if name == "max_tokens" else (-(2**63), 2**63 - 1)
            given[name] = _whole(values, other, low, high, prefix)
    return replace(otherwise, **{name: value for name, value in given.items() if value is not None})


def _number(values: Mapping[str, Any], name: str, low: float, high: float, prefix: str) -> float | None:
    value = values.get(name)
    if value is None:
        return None
    number: float = value if type(value) is int else expect(value, float, prefix + name)
    if not low <= number <= high:  # before it is a float, which has room for 309 digits
        raise FieldError(prefix + name, f"must lie between {low} and {high}")
    return float(number)


def _whole(values: Mapping[str, Any], name: str, low: int, high: int, prefix: str) -> int | None:
    value = values.get(name)
    if value is None:
        return None
    if type(value) is not int:
        raise FieldError(prefix + name, "must be a whole number")
    if not low <= value <= high:
        raise FieldError(prefix + name, f"must lie between {low} and {high}")
    return value


def _stop(value: object, field: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    texts = value if isinstance(value, list) else [value]
    if len(texts) > MAX_STOPS:
        raise FieldError(field, f"holds more than {MAX_STOPS} texts")
    for text in texts:
        if not isinstance(text, str) or not 0 < len(text) <= LONGEST_STOP:
            raise FieldError(field, f"must be a text of 1 to {LONGEST_STOP} characters, or an array of such")
    return tuple(texts)


def response_format(value: object, field: str) -> dict[str, Any] | None:
    """The schema of an OpenAI `response_format`; None for plain text. Raises FieldError."""
    held = expect(value, dict, field)
    kind = expect(held.get("type"), str, f"{field}.type")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        raise FieldError(f"{field}.type", "must be text, json_object or json_schema")
    inner = expect(held.get("json_schema"), dict, f"{field}.json_schema")
    return checked(inner.get("schema"), f"{field}.json_schema.schema")


def checked(value: object, field: str) -> dict[str, Any]:
    """A JSON schema, or its short form; a file is not read. Raises FieldError."""
    try:
        return shorthand.parse(value) if isinstance(value, str) else schema.check(value, "it")
    except shorthand.ShorthandError as error:
        raise FieldError(field, str(error)) from None
    except UsageError as error:
        raise FieldError(field, error.message, error.hint) from None
