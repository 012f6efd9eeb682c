"""Our own kernel, `product.c`, where it was built: linear layers for a few positions on a CPU; elsewhere torch's product.

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


class Matrix(ctypes.Structure):
    """What the kernel multiplies with: where it lies, its sizes, and how many bits a packed number has."""

    _fields_ = [
        ("w", ctypes.c_void_p), ("scales", ctypes.c_void_p),
        ("width", ctypes.c_long), ("out", ctypes.c_long), ("bits", ctypes.c_long),
    ]  # fmt: skip


def matrix(weight: Tensor, width: int, scale: Tensor | None = None, bits: int = 0) -> Matrix:
    """Valid as long as the tensors are where they are."""
    return Matrix(weight.data_ptr(), None if scale is None else scale.data_ptr(), width, len(weight), bits)


def library(has: str) -> Any:
    """The compiled `product.c`, or None where it was not built or its function `has` says that the processor cannot."""
    for suffix in EXTENSION_SUFFIXES:
        file = Path(__file__).with_name(f"_product{suffix}")
        if file.exists():
            try:
                found = ctypes.CDLL(str(file))
            except OSError:  # built for another system
                continue
            if hasattr(found, has) and getattr(found, has)():
                return _typed(found)
    return None


def _typed(found: Any) -> Any:
    size, pointer, number = ctypes.c_long, ctypes.c_void_p, ctypes.c_int
    functions = {
        "pixtral_product": [*[pointer] * 3, size, number, number],
        "pixtral_unpack": [pointer, pointer, number, number],
        "pixtral_step": [*[pointer] * 4, size, number],
    }
    for name, arguments in functions.items():
        if hasattr(found, name):
            getattr(found, name).argtypes = arguments
    return found


def times(kernel: Any, weights: Matrix, states: Tensor, threads: int) -> Tensor:
    """`states` (T, in) through a matrix: (T, out). Raises MemoryError."""
    states = states.contiguous()
    out = states.new_empty(len(states), weights.out)
    sizes = len(states), states.itemsize, threads
    if kernel.pixtral_product(ctypes.byref(weights), states.data_ptr(), out.data_ptr(), *sizes):
        raise MemoryError
    return out


_library = library("pixtral_has_product")


def here(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel computes products of up to `FEW` positions there."""
    return _library is not None and device.type == "cpu" and dtype in DTYPES


def linear(layer: Any, states: Tensor, threads: int | None = None) -> Tensor:
    """`states` (T, in) through a linear layer without bias: (T, out). `threads`: as many as torch has, if not said."""
    count, width = states.shape
    weight: Tensor = layer.weight
    if count > FEW or not here(states.device, states.dtype) or weight.dtype != states.dtype:
        product: Tensor = layer(states)
        return product
    return times(_library, matrix(weight, width), states, threads or torch.get_num_threads())


def step(model: ctypes.Structure, positions: Any, states: Tensor, turns: Tensor, threads: int) -> None:
    """`pixtral_step` of the kernel, which is here. Raises MemoryError."""
    sizes = len(states), threads
    if _library.pixtral_step(ctypes.byref(model), positions, states.data_ptr(), turns.data_ptr(), *sizes):
        raise MemoryError
