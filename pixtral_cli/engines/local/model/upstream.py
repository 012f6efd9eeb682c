"""Imports mistral_inference's module tree without xformers, which has no CPU kernel and no wheel for many machines.

Only its modules and the names of their parameters are used; attention, KV cache and decode loop are this project's.
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


class XformersStub:
    """Replaces every name that mistral_inference imports from xformers."""

    def __init__(self, *_: object, **__: object) -> None:
        raise NotImplementedError("attention is computed by pixtral_cli.engines.local.model.attention")


def import_transformer() -> ModuleType:
    """The module mistral_inference.transformer, imported with stubs for xformers whether or not that is installed.

    `sys.modules` holds the same xformers entries afterwards as before.
    """
    with _lock:
        if imported := sys.modules.get("mistral_inference.transformer"):
            return imported
        installed = {
            name: module for name, module in sys.modules.copy().items() if name.partition(".")[0] == "xformers"
        }
        stubs = _stubs()
        sys.modules.update(stubs)
        try:
            return import_module("mistral_inference.transformer")
        finally:
            for name in stubs:
                del sys.modules[name]
            sys.modules.update(installed)


def _stubs() -> dict[str, ModuleType]:
    """Modules with stubs for the names of `_NAMES`, by module name."""
    stubs = {name: ModuleType(name) for name in ("xformers", "xformers.ops", _FMHA, _BIAS)}
    for module, names in _NAMES.items():
        for name in names:
            setattr(stubs[module], name, type(name, (XformersStub,), {}))
    return stubs


def empty_transformer(sizes: dict[str, Any]) -> Any:
    """A `Transformer` of these sizes on the meta device, which has names and shapes and takes no memory."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Uninitialised(TorchFunctionMode):
        """Skips random initialisation, which on the meta device imports the compiler and takes 1.5 s."""

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(function, "__module__", "") == "torch.nn.init":
                return args[0] if args else kwargs["tensor"]
            return function(*args, **(kwargs or {}))

    upstream = import_transformer()
    with torch.device("meta"), Uninitialised():
        return upstream.Transformer(upstream.TransformerArgs.from_dict(sizes))
