"""The CPU kernel, compiled from the C sources beside this module: GEMV, attention and a fused step of the decoder.

The sums of one position do not depend on how many positions share a call: an answer is the same alone and in a batch.
Where the kernel was not compiled, or the processor lacks its instructions, torch computes instead.
"""

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pixtral_cli.engines.local.kernels.formats import MAX_ROWS, PLAIN
from pixtral_cli.errors import UsageError

KERNEL_DTYPES = (torch.bfloat16, torch.float32)
MAX_HEAD_DIM = 256
VERSION = 6  # KERNEL_VERSION of kernel.h: a library of another version is not used
KERNEL_VARIABLE = "PIXTRAL_KERNEL"
NONE = "none"
NATIVE_BF16 = ("avx512",)  # instruction sets with which torch multiplies bfloat16 matrices natively

_pointer, _long = ctypes.c_void_p, ctypes.c_long


class Matrix(ctypes.Structure):
    """The weights (out, in) of a linear layer and their storage format."""

    _fields_ = [("weights", _pointer), ("scales", _pointer), ("width", _long), ("out", _long), ("format", _long)]


class Layer(ctypes.Structure):
    """The weights of one decoder layer."""

    _fields_ = [
        ("attention_norm", _pointer), ("ffn_norm", _pointer),
        *((name, Matrix) for name in ("query", "key", "value", "out", "gate", "up", "down")),
    ]  # fmt: skip


class Decoder(ctypes.Structure):
    """All layers and their sizes. `itemsize`: bytes of an activation."""

    _fields_ = [
        ("layers", ctypes.POINTER(Layer)),
        *((name, _long) for name in ("n_layers", "dim", "hidden_dim", "n_heads", "n_kv_heads", "head_dim", "itemsize")),
        ("norm_eps", ctypes.c_float),
    ]


class KVLayer(ctypes.Structure):
    """One layer of a KV cache: the address of its keys and values, (2, n_kv_heads, capacity, head_dim)."""

    _fields_ = [("data", _pointer), ("capacity", _long)]


class Sequence(ctypes.Structure):
    """`count` new positions of a sequence after `past` cached ones, with a KVLayer for each layer."""

    _fields_ = [("layers", ctypes.POINTER(KVLayer)), ("past", _long), ("count", _long)]


class _AttentionInput(ctypes.Structure):
    _fields_ = [
        *((name, _pointer) for name in ("query", "keys", "values", "out")),
        *((name, _long) for name in ("count", "past", "length", "head_stride", "key_stride")),
    ]


class _Attention(ctypes.Structure):
    _fields_ = [
        ("inputs", ctypes.POINTER(_AttentionInput)),
        *((name, _long) for name in ("n_heads", "n_kv_heads", "head_dim", "itemsize", "tiles")),
    ]


def _library() -> Any:
    """The compiled kernel; None where there is none of this version for this system."""
    for suffix in EXTENSION_SUFFIXES:
        file = Path(__file__).with_name(f"_cpu{suffix}")
        if file.exists():
            try:
                loaded = ctypes.CDLL(str(file))
            except OSError:  # compiled for another system
                continue
            if getattr(loaded, "pixtral_version", int)() == VERSION:
                return _with_signatures(loaded)
    return None


def _with_signatures(loaded: Any) -> Any:
    """The library, with the argument types of its functions declared."""
    threads = itemsize = ctypes.c_int
    signatures = {
        "pixtral_select": [ctypes.c_char_p],
        "pixtral_linear": [_pointer, _pointer, _pointer, _long, itemsize, threads],
        "pixtral_attend": [_pointer, _long, _long, threads],
        "pixtral_decoder_step": [_pointer, _pointer, _long, _pointer, _pointer, _pointer, _long, threads],
    }
    for name, arguments in signatures.items():
        getattr(loaded, name).argtypes = arguments
    loaded.pixtral_select.restype = loaded.pixtral_instruction_set.restype = ctypes.c_char_p
    return loaded


def instruction_sets() -> dict[str, bool]:
    """The instruction sets that the kernel was compiled for, the fastest first, and whether this processor has each."""
    sets: dict[str, bool] = {}
    library = _library()
    while library and (name := library.pixtral_instruction_set(len(sets))):
        sets[name.decode()] = bool(library.pixtral_supported(len(sets)))
    return sets


@dataclass(frozen=True, slots=True)
class Kernel:
    """The compiled kernel (None where torch computes), the selected instruction set, and the reason for the selection."""

    library: Any
    instruction_set: str
    reason: str


@cache
def kernel() -> Kernel:
    """The kernel with the fastest instruction set of this processor, or with the one that PIXTRAL_KERNEL names.

    It may name a set, a family of sets ("avx2" means "avx2-vnni" if supported, else "avx2-fma"), or "none" to use
    torch. Raises UsageError for a set that the processor does not support.
    """
    requested = os.environ.get(KERNEL_VARIABLE, "")
    if requested == NONE:
        return Kernel(None, NONE, f"{KERNEL_VARIABLE}={NONE}")
    library, sets = _library(), instruction_sets()
    if library and (name := library.pixtral_select(requested.encode())):
        why = f"{KERNEL_VARIABLE}={requested}" if requested else "the fastest that this processor has"
        return Kernel(library, name.decode(), why)
    if requested:
        available = ", ".join([*(name for name, available in sets.items() if available), NONE])
        raise UsageError(
            f"{KERNEL_VARIABLE}={requested} names no instruction set of this processor", f"It has: {available}"
        )
    why_not = f"this processor has none of {', '.join(sets)}" if sets else "the kernel was not compiled"
    return Kernel(None, NONE, why_not)


def kernel_supports(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel computes products of up to MAX_ROWS activations of this dtype on this device."""
    return device.type == "cpu" and dtype in KERNEL_DTYPES and kernel().library is not None


def gemm_supports(device: torch.device, dtype: torch.dtype, format: int) -> bool:
    """Whether the kernel computes products with any number of activations, and faster than torch."""
    if not kernel_supports(device, dtype):
        return False
    return format != PLAIN or (dtype == torch.bfloat16 and kernel().instruction_set not in NATIVE_BF16)


def supports_attention(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether the kernel computes attention with heads of this size."""
    return kernel_supports(device, dtype) and head_dim <= MAX_HEAD_DIM and head_dim % 2 == 0


def matrix(weight: Tensor, width: int, scale: Tensor | None = None, format: int = PLAIN) -> Matrix:
    """The kernel's description of a weight, valid while the tensors exist.

    `width`: columns without the padding of packed rows.
    """
    return Matrix(weight.data_ptr(), None if scale is None else scale.data_ptr(), width, len(weight), format)


@runtime_checkable
class HasMatrix(Protocol):
    """A linear layer whose weights are stored in a format that the kernel multiplies."""

    @property
    def matrix(self) -> Matrix: ...


def multiply(weights: Matrix, states: Tensor, threads: int) -> Tensor:
    """The product of states (T, in) with a matrix: (T, out). Requires `kernel_supports`. Raises MemoryError."""
    states = states.contiguous()
    out = states.new_empty(len(states), weights.out)
    sizes = len(states), states.itemsize, threads
    if kernel().library.pixtral_linear(ctypes.byref(weights), states.data_ptr(), out.data_ptr(), *sizes):
        raise MemoryError
    return out


def linear(layer: Any, states: Tensor, threads: int | None = None) -> Tensor:
    """States (T, in) through a linear layer without bias: (T, out). `threads`: by default those of torch."""
    count, width = states.shape
    weight: Tensor = layer.weight
    supports = kernel_supports(states.device, states.dtype) and weight.dtype == states.dtype
    if supports and (count <= MAX_ROWS or gemm_supports(states.device, states.dtype, PLAIN)):
        return multiply(matrix(weight, width), states, threads or torch.get_num_threads())
    product: Tensor = layer(states)
    return product


def decoder_step(
    decoder: Decoder, sequences: Any, states: Tensor, rotations: Tensor, scales: Tensor | None, threads: int
) -> None:
    """Run all layers on states (T, dim), in place. `sequences`: an array of Sequence, whose caches are written.

    `rotations`: complex (T, head_dim / 2); `scales`: factors of the rotated queries, float32 (T). Raises MemoryError.
    """
    factors = None if scales is None else scales.data_ptr()
    pointers = sequences, len(sequences), states.data_ptr(), rotations.data_ptr(), factors
    if kernel().library.pixtral_decoder_step(ctypes.byref(decoder), *pointers, len(states), threads):
        raise MemoryError


def attention(query: Tensor, key: Tensor, value: Tensor, past: int) -> Tensor:
    """Causal grouped-query attention: query (T, H, D) → (T, H, D). Requires `supports_attention`.

    Query n attends to the first past + n + 1 of key and value, (G, S, D). A value that is NaN may make the output of
    some positions shortly before it NaN, too.
    """
    query = query.contiguous()
    if key.stride() != value.stride() or key.stride(-1) != 1:
        key, value = key.contiguous(), value.contiguous()
    out = torch.empty_like(query)
    count, n_heads, head_dim = query.shape
    n_kv_heads, length, _ = key.shape
    strides = (stride * key.itemsize for stride in key.stride()[:2])
    pointers = (tensor.data_ptr() for tensor in (query, key, value, out))
    inputs = _AttentionInput(*pointers, count, past, length, *strides)
    sizes = _Attention(ctypes.pointer(inputs), n_heads, n_kv_heads, head_dim, query.itemsize)
    kernel().library.pixtral_attend(ctypes.byref(sizes), 1, count, torch.get_num_threads())
    return out
