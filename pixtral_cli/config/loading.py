"""Reads the settings from the config file and the environment."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pixtral_cli.config.folders import config_file
from pixtral_cli.config.settings import SETTING_TYPES, TEXT_TABLES, Config, check_text_table, convert
from pixtral_cli.errors import UsageError


def load(env: Mapping[str, str] = os.environ) -> Config:
    """The settings of the config file, replaced by those of the environment.

    Raises UsageError naming the file or the variable when a key is unknown or a value has the wrong type.
    """
    return read_config_file(config_file(env)).override(**read_environment(env))


def read_config_file(file: Path) -> Config:
    """The settings of a config file; the defaults where there is none. Raises UsageError for one that is not valid."""
    try:
        text = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Config()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", "Check the file's permissions") from error
    return parse_config(text, file)


def parse_config(text: bytes, file: Path) -> Config:
    """The settings in the text of a config file. Raises UsageError, which names the file, for a text that is not valid."""
    import tomllib

    try:
        table = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not valid TOML: {error}", "Edit it: pixtral config edit") from error
    models = table.pop("models", {})
    if not isinstance(models, dict):
        raise UsageError(f"{file}: models: must be a table of settings", "See: pixtral config")
    tables = {name: _converted_table(settings, f"{file} [models.{name}]") for name, settings in models.items()}
    aliases = table.pop("aliases", {})
    if not isinstance(aliases, dict) or not all(isinstance(name, str) and name for name in aliases.values()):
        raise UsageError(f"{file} [aliases]: each must be the name of a model", 'Such as: small = "ministral-3b"')
    texts = {name: check_text_table(table.pop(name, {}), name, str(file)) for name in TEXT_TABLES}
    return replace(
        Config(), **_converted_table(table, str(file)), models=tables or None, aliases=aliases or None,
        theme=texts["theme"] or None, keys=texts["keys"] or None,
    )  # fmt: skip


def _converted_table(table: Any, where: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise UsageError(f"{where}: must be a table of settings", "See: pixtral config")
    return {key: convert(key, value, where) for key, value in table.items()}


def read_environment(env: Mapping[str, str]) -> dict[str, Any]:
    """The settings that PIXTRAL_* variables set. Raises UsageError for a value that is not valid."""
    names = {f"PIXTRAL_{name.upper()}": name for name in SETTING_TYPES}
    return {name: convert(name, env[key], key) for key, name in names.items() if env.get(key)}


def debug(env: Mapping[str, str] = os.environ) -> bool:
    """Whether tracebacks are shown: PIXTRAL_DEBUG=1."""
    return env.get("PIXTRAL_DEBUG", "") not in ("", "0")
