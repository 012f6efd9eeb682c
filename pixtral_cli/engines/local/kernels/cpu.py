"""Our own kernel, `product.c`, where it was built: products of a few positions, and attention, on a CPU; elsewhere torch.

The kernel's sums do not depend on how many positions there are: an answer is the same alone and in company.
"""

import ctypes
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

FEW = 32  # positions up to which memory is what a product waits for
DTYPES = (torch.bfloat16, torch.float32)
WIDEST = 256  # numbers of a head
VERSION = 2  # of `product.c`: one that was built before would be handed what it does not know


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
            version = getattr(found, "pixtral_version", int)()
            if version == VERSION and getattr(found, has)():
                return _typed(found)
    return None


def _typed(found: Any) -> Any:
    size, pointer, number = ctypes.c_long, ctypes.c_void_p, ctypes.c_int
    functions = {
        "pixtral_product": [*[pointer] * 3, size, number, number],
        "pixtral_attend": [pointer, size, size, number],
        "pixtral_step": [pointer, pointer, size, pointer, pointer, size, number],
    }
    for name, arguments in functions.items():
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
_packed_library = library("pixtral_has_packed")


def supports_products(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel computes products of up to `FEW` positions there."""
    return _library is not None and device.type == "cpu" and dtype in DTYPES


def supports_packed(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel computes packed products of up to `FEW` positions there: as each would come out alone."""
    return _packed_library is not None and device.type == "cpu" and dtype in DTYPES


def packed_product(weights: Matrix, states: Tensor) -> Tensor:
    """`states` (T, in) through a packed matrix: (T, out), where `supports_packed`. Raises MemoryError."""
    return times(_packed_library, weights, states, torch.get_num_threads())


@runtime_checkable
class HasMatrix(Protocol):
    """A linear layer whose weights are packed as the kernel multiplies them."""

    @property
    def matrix(self) -> Matrix: ...


def linear(layer: Any, states: Tensor, threads: int | None = None) -> Tensor:
    """`states` (T, in) through a linear layer without bias: (T, out). `threads`: as many as torch has, if not said."""
    count, width = states.shape
    weight: Tensor = layer.weight
    if count > FEW or not supports_products(states.device, states.dtype) or weight.dtype != states.dtype:
        product: Tensor = layer(states)
        return product
    return times(_library, matrix(weight, width), states, threads or torch.get_num_threads())


def step(model: ctypes.Structure, spans: Any, states: Tensor, turns: Tensor, threads: int) -> None:
    """`pixtral_step` of the kernel, which is here. Raises MemoryError."""
    places = spans, len(spans), states.data_ptr(), turns.data_ptr()
    if _library.pixtral_step(ctypes.byref(model), *places, len(states), threads):
        raise MemoryError


class _Asked(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("query", "keys", "values", "out")),
        *((name, ctypes.c_long) for name in ("count", "past", "length", "group", "step")),
    ]


class _Attention(ctypes.Structure):
    _fields_ = [
        ("asked", ctypes.POINTER(_Asked)),
        *((name, ctypes.c_long) for name in ("heads", "groups", "head", "size", "stretches")),
    ]


def supports_attention(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether the kernel computes attention of such heads there."""
    return supports_products(device, dtype) and head_dim <= WIDEST and head_dim % 2 == 0


def attention(query: Tensor, key: Tensor, value: Tensor, past: int) -> Tensor:
    """Attention where the kernel `attends`, heads in groups: query (T, H, D) → (T, H, D).

    Each position attends to those of key and value (G, S, D) up to itself, `past` of which come before the first query.
    A value that is no number may make none of some positions shortly before it, too.
    """
    query = query.contiguous()
    if key.stride() != value.stride() or key.stride(-1) != 1:
        key, value = key.contiguous(), value.contiguous()
    out = torch.empty_like(query)
    count, heads, head = query.shape
    groups, length, _ = key.shape
    apart = (stride * key.itemsize for stride in key.stride()[:2])
    places = (each.data_ptr() for each in (query, key, value, out))
    asked = _Asked(*places, count, past, length, *apart)
    sizes = _Attention(ctypes.pointer(asked), heads, groups, head, query.itemsize)
    _library.pixtral_attend(ctypes.byref(sizes), 1, count, torch.get_num_threads())
    return out
