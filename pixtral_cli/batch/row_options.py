"""The fields of a row for sampling and answer format, with the limits that the server has."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pixtral_cli.api.messages import FieldError, expect
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.errors import UsageError
from pixtral_cli.limits import (
    MAX_BIAS,
    MAX_BIASES,
    MAX_SEED,
    MAX_TEMPERATURE,
    MAX_TOP_K,
    MIN_SEED,
    RANGES,
    SAMPLING_SETTINGS,
)
from pixtral_cli.structured import schema_check, shorthand

NUMBER_FIELDS = ("top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty")
SAMPLING_FIELDS = frozenset({*SAMPLING_SETTINGS, "stop", "logit_bias", "n", "logprobs", "top_logprobs"})
FIELD_ALIASES = {
    "max_completion_tokens": "max_tokens",
    "random_seed": "seed",
}  # OpenAI's newer name, La Plateforme's name
IGNORED_FIELDS = frozenset(
    {"model", "messages", "response_format", "stream", "stream_options", "user", "metadata", "safety_identifier",
     "prompt_cache_key", "service_tier", "parallel_tool_calls"}
)  # fmt: skip
# Values of unsupported fields that change nothing, besides null, false, 0 and empty ones.
NEUTRAL_VALUES: Mapping[str, Sequence[Any]] = {
    "tool_choice": ["none", "auto"], "modalities": [["text"]], "reasoning_effort": ["none"],
}  # fmt: skip
MAX_STOPS, MAX_STOP_LENGTH = 16, 256
MAX_TOKENS = 10_000_000


def check_supported(body: Mapping[str, Any]) -> None:
    """Raises FieldError for a field of an OpenAI request that would change the answer and is not supported."""
    for name, value in body.items():
        if name in SAMPLING_FIELDS or name in FIELD_ALIASES or name in IGNORED_FIELDS or not value:
            continue
        if value not in NEUTRAL_VALUES.get(name, ()):
            raise FieldError(f"body.{name}", "is not supported")


def parse_sampling(values: Mapping[str, Any], defaults: Sampling, prefix: str = "") -> Sampling:
    """The defaults with the row's sampling parameters. `prefix`: the path of the fields, for errors. Raises FieldError."""
    given: dict[str, Any] = {
        "temperature": _number(values, "temperature", 0, MAX_TEMPERATURE, prefix),
        **{name: _number(values, name, *RANGES[name][:2], prefix) for name in NUMBER_FIELDS},
        "top_k": _integer(values, "top_k", -1, MAX_TOP_K, prefix),
        "logit_bias": _logit_bias(values.get("logit_bias"), f"{prefix}logit_bias"),
        "max_tokens": _integer(values, "max_tokens", 1, MAX_TOKENS, prefix),
        "seed": _integer(values, "seed", MIN_SEED, MAX_SEED, prefix),
        "stop": _stop(values.get("stop"), f"{prefix}stop"),
        "n": _integer(values, "n", *RANGES["n"][:2], prefix),
        "logprobs": _logprobs(values, prefix),
    }
    for other, name in FIELD_ALIASES.items():
        if values.get(other) is not None:
            low, high = (1, MAX_TOKENS) if name == "max_tokens" else (MIN_SEED, MAX_SEED)
            given[name] = _integer(values, other, low, high, prefix)
    if given["top_k"] == -1:
        given["top_k"] = 0  # -1 is vLLM's value for all tokens
    return replace(defaults, **{name: value for name, value in given.items() if value is not None})


def check_one_answer(sampling: Sampling, prefix: str = "") -> None:
    """Raises FieldError where several answers are asked for and a schema makes them one value."""
    if sampling.n > 1 and sampling.schema is not None:
        raise FieldError(f"{prefix}n", "makes several answers, and a schema takes one", "Leave one of them out")


def _logprobs(values: Mapping[str, Any], prefix: str) -> int | None:
    """How many likely tokens to tell in the place of each; None where none were asked for."""
    asked = values.get("logprobs")
    if asked is not None:
        expect(asked, bool, f"{prefix}logprobs")
    count = _integer(values, "top_logprobs", *RANGES["logprobs"][:2], prefix)
    if count is not None and not asked:
        raise FieldError(f"{prefix}top_logprobs", "goes with logprobs: true")
    return (count or 0) if asked else None


def _logit_bias(value: object, field: str) -> dict[int, float] | None:
    """Biases by token id; that the tokens exist is checked by the engine. Raises FieldError."""
    if value is None:
        return None
    biases = expect(value, dict, field)
    if len(biases) > MAX_BIASES:
        raise FieldError(field, f"holds more than {MAX_BIASES:,} tokens")
    for token in biases:
        if not (token.isascii() and token.isdigit() and len(token) < 10):
            raise FieldError(field, f"{token[:20]!r} is not a token id")
        _number(biases, token, -MAX_BIAS, MAX_BIAS, f"{field}.")
    return {int(token): float(bias) for token, bias in biases.items()}


def _number(values: Mapping[str, Any], name: str, low: float, high: float, prefix: str) -> float | None:
    value = values.get(name)
    if value is None:
        return None
    number: float = value if type(value) is int else expect(value, float, prefix + name)
    if not low <= number <= high:  # before the conversion to float, which fails for more than 309 digits
        raise FieldError(prefix + name, f"must lie between {low} and {high}")
    return float(number)


def _integer(values: Mapping[str, Any], name: str, low: int, high: int, prefix: str) -> int | None:
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
        if not isinstance(text, str) or not 0 < len(text) <= MAX_STOP_LENGTH:
            raise FieldError(field, f"must be a text of 1 to {MAX_STOP_LENGTH} characters, or an array of such")
    return tuple(texts)


def parse_response_format(value: object, field: str) -> dict[str, Any] | None:
    """The schema of an OpenAI `response_format`; None for plain text. Raises FieldError."""
    format = expect(value, dict, field)
    kind = expect(format.get("type"), str, f"{field}.type")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind != "json_schema":
        raise FieldError(f"{field}.type", "must be text, json_object or json_schema")
    inner = expect(format.get("json_schema"), dict, f"{field}.json_schema")
    return parse_schema(inner.get("schema"), f"{field}.json_schema.schema")


def parse_schema(value: object, field: str) -> dict[str, Any]:
    """A JSON schema, or its short form; a file is not read. Raises FieldError."""
    try:
        return shorthand.parse(value) if isinstance(value, str) else schema_check.check(value, "it")
    except shorthand.ShorthandError as error:
        raise FieldError(field, str(error)) from None
    except UsageError as error:
        raise FieldError(field, error.message, error.hint) from None
