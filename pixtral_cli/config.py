"""Settings: defaults < the config file < PIXTRAL_* < flags, and the folders where things live. Opens no model, asks no network."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pixtral_cli.errors import UsageError
from pixtral_cli.limits import RANGES
from pixtral_cli.util.nearest import nearest


@dataclass(frozen=True, slots=True)
class Paths:
    """The user's folders. With PIXTRAL_HOME set, all of them are under that one."""

    config_file: Path
    data: Path
    cache: Path
    state: Path


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting a user can fix once. None means: the engine's or the model's own default."""

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
        """Flags on top: those that are None were not given."""
        return replace(self, **{name: value for name, value in flags.items() if value is not None})

    def for_model(self, name: str) -> "Config":
        """The config, where a setting is None, with that of the `[models.NAME]` table."""
        table = (self.models or {}).get(name, {})
        missing = {key: value for key, value in table.items() if getattr(self, key, None) is None}
        return replace(self, **missing)


def paths(env: Mapping[str, str] = os.environ) -> Paths:
    """The folders of this user; none is created here."""
    if home := env.get("PIXTRAL_HOME"):
        root = Path(home).expanduser()
        return Paths(root / "config.toml", root / "data", root / "cache", root / "state")
    from platformdirs import PlatformDirs

    dirs = PlatformDirs("pixtral", appauthor=False)
    return Paths(
        Path(dirs.user_config_dir) / "config.toml",
        Path(dirs.user_data_dir),
        Path(dirs.user_cache_dir),
        Path(dirs.user_state_dir),
    )


def load(env: Mapping[str, str] = os.environ) -> Config:
    """Defaults, the file and the environment, in that order.

    Raises UsageError naming the file or the variable when a key is unknown or a value has the wrong type.
    """
    return _from_file(config_file(env)).override(**_from_environment(env))


def config_file(env: Mapping[str, str] = os.environ) -> Path:
    """The path of the config file, which need not exist."""
    return Path(env["PIXTRAL_CONFIG"]).expanduser() if env.get("PIXTRAL_CONFIG") else paths(env).config_file


def _from_file(file: Path) -> Config:
    try:
        text = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Config()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", "Check the file's permissions") from error
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
    texts = {name: _texts(table.pop(name, {}), name, str(file)) for name in TABLES}
    return replace(
        Config(), **_converted_table(table, str(file)), models=tables or None, aliases=aliases or None,
        theme=texts["theme"] or None, keys=texts["keys"] or None,
    )  # fmt: skip


TABLES = {
    "theme": ("prompt", "placeholder", "toolbar", "heading", "code", "quote", "link", "bullet", "code_blocks"),
    "keys": ("newline", "complete", "editor", "paste"),
}


def _texts(table: Any, name: str, where: str) -> dict[str, str]:
    """The table [theme] or [keys], whose values are judged where they are used. Raises UsageError."""
    if not isinstance(table, dict):
        raise UsageError(f"{where}: {name}: must be a table", f"It may hold {', '.join(TABLES[name])}")
    for key, value in table.items():
        if key not in TABLES[name]:
            from pixtral_cli.util.nearest import nearest

            near = nearest(key, TABLES[name])
            hint = f"Did you mean {near}?" if near else f"There are {', '.join(TABLES[name])}"
            raise UsageError(f"{where} [{name}]: there is no {key!r}", hint)
        if not isinstance(value, str):
            raise UsageError(f"{where} [{name}]: {key} must be a text, not {value!r}", "Put it in quotes")
    return dict(table)


def _converted_table(table: Any, where: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise UsageError(f"{where}: must be a table of settings", "See: pixtral config")
    return {key: convert(key, value, where) for key, value in table.items()}


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    names = {f"PIXTRAL_{name.upper()}": name for name in SETTING_TYPES}
    return {name: convert(name, env[key], key) for key, name in names.items() if env.get(key)}


SETTING_TYPES: dict[str, type] = {
    field.name: {"float": float, "int": int, "bool": bool}.get(str(field.type).split(" ")[0], str)
    for field in fields(Config)
    if field.name not in ("models", "aliases", "theme", "keys")
}


def convert(key: str, value: Any, where: str) -> Any:
    """One setting's value as its type, from TOML or from text. `where` is named in the error, unless it is "".

    Raises UsageError for an unknown key, a value that isn't of its type or out of its range.
    """
    where = f"{where}: " if where else ""
    if key not in SETTING_TYPES:
        close = nearest(key, [*SETTING_TYPES, "models", "aliases", *TABLES])
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
    if key in CHOICES and converted not in CHOICES[key]:
        raise UsageError(f"{where}{key} must be {', '.join(CHOICES[key][:-1])} or {CHOICES[key][-1]}, not {value!r}")
    least, most, words = RANGES.get(key, (None, None, ""))
    if least is not None and not least <= converted <= most:
        raise UsageError(f"{where}{key} must be {words}, not {value!r}")
    return converted


CHOICES: dict[str, tuple[str, ...]] = {"thinking": ("show", "fold", "hide")}
_TYPE_NAMES: dict[type, str] = {float: "a number", int: "a whole number", str: "a text", bool: "true or false"}
_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def _boolean(key: str, value: Any, where: str, kind: type) -> bool:
    word = str(value).lower()
    if kind is not bool or word not in _BOOLEANS:
        raise UsageError(f"{where}{key} must be {_TYPE_NAMES[kind]}, not {value!r}")
    return _BOOLEANS[word]


def debug(env: Mapping[str, str] = os.environ) -> bool:
    """PIXTRAL_DEBUG=1: tracebacks are shown."""
    return env.get("PIXTRAL_DEBUG", "") not in ("", "0")


def describe(env: Mapping[str, str] = os.environ) -> list[str]:
    """Every setting in force that is not a default, as TOML lines that say where each comes from."""
    from_file, from_env = _from_file(config_file(env)), _from_environment(env)
    lines = []
    for name in SETTING_TYPES:
        if name in from_env:
            lines.append(f"{name} = {_toml(from_env[name])}  # PIXTRAL_{name.upper()}")
        elif (value := getattr(from_file, name)) is not None:
            lines.append(f"{name} = {_toml(value)}")
    for model, table in (from_file.models or {}).items():
        lines += ["", f"[models.{_toml_key(model)}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    for named, texts in (("theme", from_file.theme), ("keys", from_file.keys)):
        if texts:
            lines += ["", f"[{named}]", *(f"{key} = {_toml(value)}" for key, value in texts.items())]
    if from_file.aliases:
        lines += ["", "[aliases]", *(f"{_toml_key(name)} = {_toml(to)}" for name, to in from_file.aliases.items())]
    return lines


DEFAULTS = {
    "model": "the best downloaded model that fits, else demo", "engine": "local", "device": "auto", "dtype": "auto",
    "quantize": "auto", "temperature": "0.35, or the model's own", "top_p": "1.0", "top_k": "0, all", "min_p": "0.0",
    "repetition_penalty": "1.0", "frequency_penalty": "0.0", "presence_penalty": "0.0", "max_tokens": "what the window leaves",
    "tensor_parallel_size": "1", "pipeline_parallel_size": "1", "nodes": "1", "replicas": "1, or what the machines have room for",
    "coordinator": "0.0.0.0:8790", "join_timeout": "10m", "preview": "true", "plain": "false",
    "thinking": "fold", "offline": "false", "no_log": "false",
}  # fmt: skip


def listing(env: Mapping[str, str] = os.environ) -> list[dict[str, Any]]:
    """Every setting with its value, or None where it is a default, the default in words, and where the value is from."""
    from_file, from_env = _from_file(config_file(env)), _from_environment(env)
    rows: list[dict[str, Any]] = []
    for name in SETTING_TYPES:
        in_env, value = name in from_env, from_env.get(name, getattr(from_file, name))
        source = f"PIXTRAL_{name.upper()}" if in_env else str(config_file(env)) if value is not None else "default"
        rows.append({"name": name, "value": value, "default": DEFAULTS.get(name, "none"), "source": source})
    return rows


def get(key: str, env: Mapping[str, str] = os.environ) -> str | None:
    """One setting's value as text, from the file and the environment; None when it is a default."""
    config = load(env)
    if alias := _alias(key):
        return (config.aliases or {}).get(alias)
    if (table := key.partition(".")[0]) in TABLES and "." in key:
        return (getattr(config, table) or {}).get(key.partition(".")[2])
    model, name = _split(key)
    value = (config.models or {}).get(model, {}).get(name) if model else getattr(config, name)
    return None if value is None else _toml(value).strip('"')


def set_value(key: str, value: str | None, env: Mapping[str, str] = os.environ) -> None:
    """Write one setting into the config file, or with None take it out; comments and order there stay.

    `models.NAME.KEY` is the setting of one model, `aliases.NAME` a name for a model's name. Raises UsageError for a key
    or value that makes no sense.
    """
    import tomlkit

    target = config_file(env)
    _from_file(target)
    alias = _alias(key)
    within = key.partition(".")[0] if "." in key and key.partition(".")[0] in TABLES else ""
    model, name = ("", "") if alias or within else _split(key)
    document = tomlkit.parse(target.read_text(encoding="utf-8")) if target.exists() else tomlkit.document()
    table: Any = document
    if alias:
        _set_alias(document, alias, value)
        return _write(target, tomlkit.dumps(document))
    if within:
        _set_text(document, within, key.partition(".")[2], value)
        return _write(target, tomlkit.dumps(document))
    if model:
        table = document.setdefault("models", tomlkit.table(is_super_table=True)).setdefault(model, tomlkit.table())
    if value is None:
        table.pop(name, None)
        if model and not table:
            document["models"].pop(model)
    else:
        table[name] = convert(name, value, "")
    return _write(target, tomlkit.dumps(document))


def _set_alias(document: Any, alias: str, value: str | None) -> None:
    if value == "":
        raise UsageError(f"aliases.{alias} must be the name of a model", "Such as: ministral-3b")
    table: dict[str, str] = document.setdefault("aliases", {})
    if value is None:
        table.pop(alias, None)
    else:
        table[alias] = value


def _set_text(document: Any, table: str, name: str, value: str | None) -> None:
    """A key of [theme] or [keys]; None takes it out. Raises UsageError for one that there is not."""
    _texts({name: value or ""}, table, "config")
    texts: dict[str, str] = document.setdefault(table, {})
    if value is None:
        texts.pop(name, None)
    else:
        texts[name] = value


def create_if_missing(target: Path) -> None:
    """Create an empty config file where there is none."""
    if not target.exists():
        names = ", ".join(SETTING_TYPES)
        _write(target, f"# Settings of pixtral: {names}.\n# A table [models.NAME] holds them for one model.\n")


def _write(target: Path, text: str) -> None:
    """Replace the file at once or not at all, readable by its owner alone."""
    from pixtral_cli.util import atomic

    try:
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic.write(target, text, mode=0o600)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UsageError(f"{target} cannot be written: {why}", "Name another file: PIXTRAL_CONFIG=FILE") from error


def _alias(key: str) -> str:
    """NAME of `aliases.NAME`; "" for any other key."""
    return key.removeprefix("aliases.") if key.startswith("aliases.") else ""


def _split(key: str) -> tuple[str, str]:
    """`models.NAME.KEY` to NAME and KEY, a plain key to "" and itself."""
    model, name = "", key
    if key.startswith("models."):
        model, _, name = key.removeprefix("models.").rpartition(".")
    if name not in SETTING_TYPES:
        convert(name, "", "")
    return model, name


def _toml(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _toml_key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() else _toml(name)
