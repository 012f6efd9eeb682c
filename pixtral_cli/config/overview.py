"""The settings in force, as `pixtral config` shows them."""

import json
import os
from collections.abc import Mapping
from typing import Any

from pixtral_cli.config.folders import config_file
from pixtral_cli.config.keys import parse_key
from pixtral_cli.config.loading import load, read_config_file, read_environment
from pixtral_cli.config.settings import SETTING_TYPES


def describe(env: Mapping[str, str] = os.environ) -> list[str]:
    """The settings that are not defaults, as lines of TOML; a comment names the variable that sets one."""
    from_file, from_env = read_config_file(config_file(env)), read_environment(env)
    lines = []
    for name in SETTING_TYPES:
        if name in from_env:
            lines.append(f"{name} = {toml_value(from_env[name])}  # PIXTRAL_{name.upper()}")
        elif (value := getattr(from_file, name)) is not None:
            lines.append(f"{name} = {toml_value(value)}")
    for model, table in (from_file.models or {}).items():
        lines += ["", f"[models.{toml_key(model)}]", *(f"{key} = {toml_value(value)}" for key, value in table.items())]
    for named, texts in (("theme", from_file.theme), ("keys", from_file.keys)):
        if texts:
            lines += ["", f"[{named}]", *(f"{key} = {toml_value(value)}" for key, value in texts.items())]
    if from_file.aliases:
        lines += ["", "[aliases]", *(f"{toml_key(name)} = {toml_value(to)}" for name, to in from_file.aliases.items())]
    return lines


DEFAULTS = {
    "model": "the best downloaded model that fits, else demo", "engine": "local", "device": "auto", "dtype": "auto",
    "quantize": "auto", "temperature": "0.35, or the model's own", "top_p": "1.0", "top_k": "0, all", "min_p": "0.0",
    "repetition_penalty": "1.0", "frequency_penalty": "0.0", "presence_penalty": "0.0", "max_tokens": "what the window leaves",
    "tensor_parallel_size": "1", "pipeline_parallel_size": "1", "nodes": "1", "replicas": "1, or what the machines have room for",
    "coordinator": "0.0.0.0:8790", "join_timeout": "10m", "preview": "true", "plain": "false",
    "thinking": "fold", "offline": "false", "no_log": "false",
}  # fmt: skip


def setting_rows(env: Mapping[str, str] = os.environ) -> list[dict[str, Any]]:
    """A row for each setting: `name`, `value` (None where the default holds), `default` in words and `source`.

    `source` is the name of a variable, the path of the config file, or "default".
    """
    from_file, from_env = read_config_file(config_file(env)), read_environment(env)
    rows: list[dict[str, Any]] = []
    for name in SETTING_TYPES:
        in_env, value = name in from_env, from_env.get(name, getattr(from_file, name))
        source = f"PIXTRAL_{name.upper()}" if in_env else str(config_file(env)) if value is not None else "default"
        rows.append({"name": name, "value": value, "default": DEFAULTS.get(name, "none"), "source": source})
    return rows


def get(text: str, env: Mapping[str, str] = os.environ) -> str | None:
    """The value of a key as text; see `get_value`."""
    value = get_value(text, env)
    return value if value is None or isinstance(value, str) else toml_value(value)


def get_value(text: str, env: Mapping[str, str] = os.environ) -> Any:
    """The value of a key (see `parse_key`), from the file and the environment; None where the default holds."""
    config, key = load(env), parse_key(text)
    if key.table == "models":
        return (config.models or {}).get(key.model, {}).get(key.name)
    if key.table:
        return (getattr(config, key.table) or {}).get(key.name)
    return getattr(config, key.name)


def toml_value(value: Any) -> str:
    """A string, number or boolean as TOML, which writes them as JSON does."""
    return json.dumps(value, ensure_ascii=False)


def toml_key(name: str) -> str:
    """A key as TOML: quoted unless it is bare."""
    return name if name.replace("-", "").replace("_", "").isalnum() else toml_value(name)
