"""Opens an engine by its name. Engines take values, never the config object."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pixtral_cli.chat.engine import Engine
from pixtral_cli.engines.options import EngineOptions
from pixtral_cli.errors import UsageError

if TYPE_CHECKING:
    from pixtral_cli.models.pull import ConfigCheck

ENGINES = ("local", "vllm", "api")  # api: `engines.remote` connects to it


def config_check(kind: str) -> "ConfigCheck | None":
    """A function that raises ModelError for a configuration that this engine cannot run; None for other engines."""
    if kind != "local":
        return None
    from pixtral_cli.engines.local.config import check_config

    return check_config


def unknown_params(kind: str) -> Sequence[str]:
    """The keys of params.json that, where they are set, mark a model that this engine cannot compute."""
    if kind != "local":
        return ()
    from pixtral_cli.engines.local.config import UNSUPPORTED_KEYS

    return UNSUPPORTED_KEYS


def open_engine(
    options: EngineOptions,
    folder: Path,
    *,
    name: str = "",
    note: Callable[[str], None] = lambda line: None,
) -> Engine:
    """The engine for the checkpoint in `folder`, without its weights. `note` is called with lines to show.

    Raises UsageError.
    """
    if options.kind == "local":
        from pixtral_cli.engines.local.engine import LocalEngine

        return LocalEngine(
            folder, name=name, device=options.device, dtype=options.dtype, quantize=options.quantize,
            cache=options.cache, note=note,
        )  # fmt: skip
    if options.kind == "vllm" and options.vllm and options.vllm.is_cluster:
        from pixtral_cli.engines.vllm.cluster.engine import ClusterEngine

        return ClusterEngine(
            folder,
            name=name or folder.name,
            options=options.vllm,
            device=options.device,
            dtype=options.dtype,
            note=note,
        )
    if options.kind == "vllm" and options.vllm:
        from pixtral_cli.engines.vllm.engine import VllmEngine

        return VllmEngine(
            folder, name=name or folder.name, options=options.vllm, device=options.device, dtype=options.dtype
        )
    raise UsageError(f"There is no engine named {options.kind!r}", f"Engines: {', '.join(ENGINES)}")
