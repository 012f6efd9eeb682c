"""Imports mistral_inference's module tree without xformers, which has no kernel for the CPU and no wheel for many machines.

Only the modules and their parameter names are used; attention, cache and loop are ours.
"""

import sys
import threading
from importlib import import_module
from types import ModuleType
from typing import Any

_FMHA = "xformers.ops.fmha"
_BIAS = "xformers.ops.fmha.attn_bias"
_NAMES = {
    _FMHA: ("memory_efficient_attention",),
    _BIAS: (
        "AttentionBias",
        "BlockDiagonalCausalMask",
        "BlockDiagonalCausalWithOffsetPaddedKeysMask",
        "BlockDiagonalMask",
    ),
}
_lock = threading.Lock()


class Unused:
    """Stands where mistral_inference imports a name from xformers."""

    def __init__(self, *_: object, **__: object) -> None:
        raise NotImplementedError("attention is computed by pixtral_cli.engines.local.model.attention")


def modules() -> ModuleType:
    """mistral_inference.transformer, imported with our stand-ins whether or not xformers is installed.

    `sys.modules` holds the same xformers entries afterwards as before.
    """
    with _lock:
        if imported := sys.modules.get("mistral_inference.transformer"):
            return imported
        kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "xformers"}
        stand_ins = _stand_ins()
        sys.modules.update(stand_ins)
        try:
            return import_module("mistral_inference.transformer")
        finally:
            for name in stand_ins:
                del sys.modules[name]
            sys.modules.update(kept)


def _stand_ins() -> dict[str, ModuleType]:
    found = {name: ModuleType(name) for name in ("xformers", "xformers.ops", _FMHA, _BIAS)}
    for module, names in _NAMES.items():
        for name in names:
            setattr(found[module], name, type(name, (Unused,), {}))
    return found


def transformer(sizes: dict[str, Any]) -> Any:
    """An empty `Transformer` of these sizes on the meta device: names and shapes, no memory."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Uninitialised(TorchFunctionMode):
        """Leaves out random initial values, which on the meta device would import the compiler: a second and a half."""

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(function, "__module__", "") == "torch.nn.init":
                return args[0] if args else kwargs["tensor"]
            return function(*args, **(kwargs or {}))

    upstream = modules()
    with torch.device("meta"), Uninitialised():
        return upstream.Transformer(upstream.TransformerArgs.from_dict(sizes))
