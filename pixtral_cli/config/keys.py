"""The keys that `pixtral config get`, `set` and `unset` take."""

from typing import NamedTuple

from pixtral_cli.config.settings import SETTING_TYPES, TEXT_TABLES, convert
from pixtral_cli.errors import UsageError


class Key(NamedTuple):
    """`table` is "" for a setting, else "models", "aliases", "theme" or "keys". `model`: of which model, in "models"."""

    table: str
    model: str
    name: str


def parse_key(text: str) -> Key:
    """The key of `SETTING`, `models.MODEL.SETTING`, `aliases.NAME`, `theme.NAME` or `keys.NAME`.

    A setting may be written as its flag is (`max-tokens`). Raises UsageError for a setting that does not exist; names in
    the other tables are checked when they are set.
    """
    if text in (*TEXT_TABLES, "aliases", "models"):
        example = {"aliases": "aliases.small", "models": "models.demo.temperature"}.get(text)
        raise UsageError(f"{text} is a table", f"Name one of it, such as {example or f'{text}.{TEXT_TABLES[text][0]}'}")
    table, _, name = text.partition(".")
    if name and (table == "aliases" or table in TEXT_TABLES):
        return Key(table, "", name)
    if table == "models" and "." not in name:
        raise UsageError(f"{text} is a table", f"Name one of it, such as {text}.temperature")
    model = ""
    if table == "models" and name:
        model, _, name = name.rpartition(".")
    else:
        name = text
    name = name.replace("-", "_")
    if name not in SETTING_TYPES:
        convert(name, "", "")
    return Key("models" if model else "", model, name)
