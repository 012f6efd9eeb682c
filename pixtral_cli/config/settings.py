"""The settings: their types, which values are valid, and the errors about the others. Reads no file."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from pixtral_cli.config.formats import check_format
from pixtral_cli.errors import UsageError
from pixtral_cli.limits import RANGES
from pixtral_cli.util.nearest import nearest


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting a user can fix once. None stands for the default of the engine or of the model."""

    model: str | None = None
    engine: str | None = None
    base_url: str | None = None
    device: str | None = None
    dtype: str | None = None
    quantize: str | None = None
    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    keep_alive: str | None = None
    vllm: str | None = None
    vllm_args: str | None = None
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    nodes: int | None = None
    replicas: int | None = None
    coordinator: str | None = None
    join_timeout: str | None = None
    ray: str | None = None
    preview: bool | None = None
    plain: bool | None = None
    thinking: str | None = None
    offline: bool | None = None
    no_log: bool | None = None
    models: Mapping[str, Mapping[str, Any]] | None = None
    aliases: Mapping[str, str] | None = None
    theme: Mapping[str, str] | None = None
    keys: Mapping[str, str] | None = None

    def override(self, **flags: Any) -> "Config":
        """This config with the values of the flags that were given; None stands for a flag that was not."""
        return replace(self, **{name: value for name, value in flags.items() if value is not None})

    def for_model(self, name: str) -> "Config":
        """This config with the settings that are None filled in from the `[models.NAME]` table of the config file."""
        table = (self.models or {}).get(name, {})
        missing = {key: value for key, value in table.items() if getattr(self, key, None) is None}
        return replace(self, **missing)


# Tables of the config file whose values are strings, with their keys.
TEXT_TABLES = {
    "theme": ("prompt", "placeholder", "toolbar", "heading", "code", "quote", "link", "bullet", "code_blocks"),
    "keys": ("newline", "complete", "editor", "paste"),
}


SETTING_TYPES: dict[str, type] = {
    field.name: {"float": float, "int": int, "bool": bool}.get(str(field.type).split(" ")[0], str)
    for field in fields(Config)
    if field.name not in ("models", "aliases", "theme", "keys")
}


def convert(key: str, value: Any, where: str) -> Any:
    """A setting's value converted to its type, from TOML or from text. `where`: the file or variable that errors name.

    Raises UsageError for an unknown key, and for a value that is not of its type or out of its range.
    """
    where = f"{where}: " if where else ""
    if key not in SETTING_TYPES:
        close = nearest(key, [*SETTING_TYPES, "models", "aliases", *TEXT_TABLES])
        raise UsageError(
            f"{where}unknown setting {key!r}",
            f"Did you mean {close}?" if close else f"Settings: {', '.join(SETTING_TYPES)}",
        )
    kind = SETTING_TYPES[key]
    if isinstance(value, bool) or kind is bool:
        return _boolean(key, value, where, kind)
    try:
        converted = kind(value)
    except (TypeError, ValueError):
        raise UsageError(f"{where}{key} must be {_TYPE_NAMES[kind]}, not {value!r}") from None
    if isinstance(converted, str):
        check_format(key, converted, where)
    least, most, words = RANGES.get(key, (None, None, ""))
    if least is not None and not least <= converted <= most:
        raise UsageError(f"{where}{key} must be {words}, not {value!r}")
    return converted


_TYPE_NAMES: dict[type, str] = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _boolean(key: str, value: Any, where: str, kind: type) -> bool:
    word = str(value).lower()
    if kind is not bool or word not in _BOOLEANS:
        raise UsageError(f"{where}{key} must be {_TYPE_NAMES[kind]}, not {value!r}")
    return _BOOLEANS[word]


def check_text_table(table: Any, name: str, where: str) -> dict[str, str]:
    """The table [theme] or [keys]. Raises UsageError for an unknown key or a value that is no string.

    Whether a value is a colour or a key is checked where it is used.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{where}: {name}: must be a table", f"It may hold {', '.join(TEXT_TABLES[name])}")
    for key, value in table.items():
        if key not in TEXT_TABLES[name]:
            near = nearest(key, TEXT_TABLES[name])
            hint = f"Did you mean {near}?" if near else f"There are {', '.join(TEXT_TABLES[name])}"
            raise UsageError(f"{where} [{name}]: there is no {key!r}", hint)
        if not isinstance(value, str):
            raise UsageError(f"{where} [{name}]: {key} must be a text, not {value!r}", "Put it in quotes")
    return dict(table)
