"""Changes the config file; comments and order in it stay."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pixtral_cli.config.folders import config_file
from pixtral_cli.config.keys import Key, parse_key
from pixtral_cli.config.loading import parse_config
from pixtral_cli.config.settings import SETTING_TYPES, TEXT_TABLES, check_text_table, convert
from pixtral_cli.errors import UsageError
from pixtral_cli.util import atomic


def set_value(text: str, value: str | None, env: Mapping[str, str] = os.environ) -> None:
    """Write the value of a key (see `parse_key`) into the config file; None removes the key, or a whole table by its name.

    A key is removed from a file with other settings that are not valid, too. Raises UsageError for an unknown key, a
    value that is not valid, and a file that is not valid with the new value or cannot be written.
    """
    import tomlkit

    target = config_file(env)
    document = _read_document(target)
    if value is None and text in (*TEXT_TABLES, "aliases"):
        document.pop(text, None)
        return _write(target, tomlkit.dumps(document))
    model = text.removeprefix("models.")
    if value is None and model != text and model in document.get("models", {}):
        document["models"].pop(model)
        return _write(target, tomlkit.dumps(document))
    key = parse_key(text)
    table: Any = document
    if key.table == "models":
        table = document.setdefault("models", tomlkit.table(is_super_table=True)).setdefault(key.model, tomlkit.table())
    elif key.table:
        table = document.setdefault(key.table, {})
    converted = _convert(key, value)
    if converted is None:
        table.pop(key.name, None)
        if key.table == "models" and not table:
            document["models"].pop(key.model)
        elif key.table and not table:
            document.pop(key.table)
    else:
        table[key.name] = converted
        parse_config(tomlkit.dumps(document).encode(), target)
    return _write(target, tomlkit.dumps(document))


def _read_document(file: Path) -> Any:
    """The config file as a document that can be edited; an empty one where there is no file."""
    import tomlkit
    from tomlkit.exceptions import ParseError

    try:
        return tomlkit.parse(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return tomlkit.document()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", "Check the file's permissions") from error
    except (ParseError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: not valid TOML: {error}", "Edit it: pixtral config edit") from error


def _convert(key: Key, value: str | None) -> Any:
    """The value as the config file holds it; None for None. Raises UsageError for one that is not valid."""
    if key.table == "aliases" and value == "":
        raise UsageError(f"aliases.{key.name} must be the name of a model", "Such as: ministral-3b")
    if key.table in TEXT_TABLES:
        check_text_table({key.name: value or ""}, key.table, "config")
    return convert(key.name, value, "") if value is not None and key.table in ("", "models") else value


def create_if_missing(target: Path) -> None:
    """Create an empty config file where there is none."""
    if not target.exists():
        names = ", ".join(SETTING_TYPES)
        _write(target, f"# Settings of pixtral: {names}.\n# A table [models.NAME] holds them for one model.\n")


def _write(target: Path, text: str) -> None:
    """Replace the file atomically, readable by its owner alone. Raises UsageError where it cannot be written."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic.write(target, text, mode=0o600)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UsageError(f"{target} cannot be written: {why}", "Name another file: PIXTRAL_CONFIG=FILE") from error
