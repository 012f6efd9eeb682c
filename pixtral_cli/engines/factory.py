"""Who answers: opens one engine by its name. Engines are handed values, never the config."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pixtral_cli.chat.engine import Engine
from pixtral_cli.errors import UsageError

if TYPE_CHECKING:
    from pixtral_cli.engines.vllm.command import VllmOptions

ENGINES = ("local", "vllm", "api")  # api: `engines.remote` connects to it


def open_engine(
    kind: str = "local",
    *,
    folder: Path,
    name: str = "",
    device: str = "auto",
    dtype: str = "auto",
    quantize: str = "auto",
    cache: Path | None = None,
    note: Callable[[str], None] = lambda line: None,
    launch: "VllmOptions | None" = None,
) -> Engine:
    """An engine of that kind; `launch` says how to start vLLM; see `LocalEngine` for the rest. Loads no weights; raises UsageError for an unknown kind."""
    if kind == "local":
        from pixtral_cli.engines.local.engine import LocalEngine

        return LocalEngine(folder, name=name, device=device, dtype=dtype, quantize=quantize, cache=cache, note=note)
    if kind == "vllm" and launch:
        from pixtral_cli.engines.vllm.engine import VllmEngine

        return VllmEngine(folder, name=name or folder.name, launch=launch, device=device, dtype=dtype)
    raise UsageError(f"There is no engine named {kind!r}", f"Engines: {', '.join(ENGINES)}")
