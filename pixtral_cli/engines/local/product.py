"""Linear layers for a few positions on a CPU by our own kernel, `product.c`, where it was built; else torch's product.

The kernel's sums do not depend on how many positions there are: an answer is the same alone and in company.
"""

import ctypes
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FEW = 32  # positions up to which memory is what a product waits for
DTYPES = (torch.bfloat16, torch.float32)


def library(has: str) -> Any:
    """The compiled `product.c`, or None where it was not built or its function `has` says that the processor cannot."""
    for suffix in EXTENSION_SUFFIXES:
        file = Path(__file__).with_name(f"_product{suffix}")
        if file.exists():
            try:
                found = ctypes.CDLL(str(file))
            except OSError:  # built for another system, or without its OpenMP
                continue
            if hasattr(found, has) and getattr(found, has)():
                return _typed(found)
    return None


def _typed(found: Any) -> Any:
    size, pointer, number = ctypes.c_long, ctypes.c_void_p, ctypes.c_int
    functions = {
        "pixtral_product": [*[pointer] * 3, *[size] * 3, *[number] * 2],
        "pixtral_packed": [*[pointer] * 5, *[size] * 3, *[number] * 3],
        "pixtral_unpack": [*[pointer] * 3, *[size] * 3, *[number] * 3],
    }
    for name, arguments in functions.items():
        if hasattr(found, name):
            getattr(found, name).argtypes, getattr(found, name).restype = arguments, None
    return found


_library = library("pixtral_has_product")


def here(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel computes products of up to `FEW` positions there."""
    return _library is not None and device.type == "cpu" and dtype in DTYPES


def exact(device: torch.device, dtype: torch.dtype, *widths: int) -> bool:
    """Whether up to `FEW` positions of these widths come out, to the last bit, as each would alone.

    Torch's own functions of single numbers round the last few of an odd number of them otherwise.
    """
    return here(device, dtype) and not any(width % 32 for width in widths)


def linear(layer: Any, states: Tensor) -> Tensor:
    """`states` (T, in) through a linear layer without bias: (T, out)."""
    count, width = states.shape
    weight: Tensor = layer.weight
    if count > FEW or not here(states.device, states.dtype) or weight.dtype != states.dtype:
        product: Tensor = layer(states)
        return product
    states = states.contiguous()
    out = states.new_empty(count, len(weight))
    _library.pixtral_product(
        weight.data_ptr(), states.data_ptr(), out.data_ptr(), width, len(weight), count,
        states.itemsize, torch.get_num_threads(),
    )  # fmt: skip
    return out
