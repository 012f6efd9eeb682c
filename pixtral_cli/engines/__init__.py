"""Who answers: opens one engine by its name. Engines are handed values, never the config."""

from pathlib import Path

from pixtral_cli.chat.engine import Engine
from pixtral_cli.errors import UsageError

NAMES = ("local", "api")  # api: `engines.remote` connects to it


def open_engine(
    kind: str = "local", *, folder: Path, name: str = "", device: str = "auto", dtype: str = "auto"
) -> Engine:
    """An engine of that kind. Loads no weights; raises UsageError when there is no such engine."""
    if kind == "local":
        from pixtral_cli.engines.local import LocalEngine

        return LocalEngine(folder, name=name, device=device, dtype=dtype)
    raise UsageError(f"There is no engine named {kind!r}", f"Engines: {', '.join(NAMES)}")
