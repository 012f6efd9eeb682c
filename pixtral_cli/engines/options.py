"""The options of an engine on this machine, shared by commands, processes and engines."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixtral_cli.engines.vllm.command import VllmOptions


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The options of an engine.

    `kind`: local or vllm; `cache`: the folder of quantized weights; `vllm`: options of that kind.
    """

    kind: str = "local"
    device: str = "auto"
    dtype: str = "auto"
    quantize: str = "auto"
    cache: Path | None = None
    vllm: "VllmOptions | None" = None
