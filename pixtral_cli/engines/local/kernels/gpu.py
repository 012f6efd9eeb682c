"""Products with quantized weights and decode attention on an NVIDIA GPU, with Triton kernels where they run.

Triton comes with torch on Linux and needs a C compiler the first time it compiles. Where it is missing or fails, torch
multiplies with the dequantized matrix and computes attention sequence by sequence.
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pixtral_cli.engines.local.kernels.formats import ALIGNMENT, INT8, MAX_HEADS_PER_GROUP, MAX_ROWS

MIN_CAPABILITY = (8, 0)  # tensor cores for bfloat16
DTYPES_16_BIT = (torch.bfloat16, torch.float16)
HEAD_DIMS = (32, 64, 128)  # larger blocks of keys and values exceed the shared memory of the smallest GPUs


def supports_gemv(states: Tensor) -> bool:
    """Whether `multiply` supports these states (T, width)."""
    return (
        states.device.type == "cuda"
        and len(states) <= MAX_ROWS
        and states.dtype in DTYPES_16_BIT
        and runs_on(states.device.index)
    )


@cache
def runs_on(index: int) -> bool:
    """Whether the kernels of products compile and run on this GPU, tried once. Raises torch.OutOfMemoryError."""
    return _passes(index, _try_product)


def supports_decode_attention(device: torch.device, dtype: torch.dtype, heads: int, groups: int, head_dim: int) -> bool:
    """Whether `attend` supports queries of this kind."""
    return (
        device.type == "cuda"
        and dtype in DTYPES_16_BIT
        and head_dim in HEAD_DIMS
        and heads // groups <= MAX_HEADS_PER_GROUP
        and attends_on(device.index, dtype, heads, groups, head_dim)
    )


@cache
def attends_on(index: int, dtype: torch.dtype, heads: int, groups: int, head_dim: int) -> bool:
    """Whether the kernels of attention compile and run on this GPU, tried once. Raises torch.OutOfMemoryError."""
    return _passes(index, lambda device: _try_attention(device, dtype, heads, groups, head_dim))


def _passes(index: int, trial: Callable[[torch.device], bool]) -> bool:
    """Whether a trial of kernels returns True on this GPU. Raises torch.OutOfMemoryError."""
    if torch.cuda.get_device_capability(index) < MIN_CAPABILITY:
        return False
    try:
        return trial(torch.device("cuda", index))
    except torch.OutOfMemoryError:
        raise  # it does not show whether the kernels run, and the result is cached
    except Exception as error:  # a missing package, compiler or driver: Triton raises many kinds
        logging.getLogger(__name__).info("Triton's kernels do not run here: %s", str(error).partition("\n")[0][:200])
        return False


def _try_product(device: torch.device) -> bool:
    """Whether the product of a row of 64 ones with a matrix of ones is 64."""
    states = torch.ones(1, 64, device=device, dtype=torch.bfloat16)
    weight, scale = torch.ones(64, 64, device=device, dtype=torch.int8), torch.ones(64, device=device)
    return bool((multiply(states, weight, scale, INT8) == 64).all())


def _try_attention(device: torch.device, dtype: torch.dtype, heads: int, groups: int, head_dim: int) -> bool:
    """Whether attention over 640 positions of equal weight gives 1 where the last has value 640 and the others 0."""
    length = 640
    store = torch.zeros(2, groups, length, head_dim, device=device, dtype=dtype)
    query, key = (torch.zeros(1, count, head_dim, device=device, dtype=dtype) for count in (heads, groups))
    address, lengths = (torch.tensor([number], device=device) for number in (store.data_ptr() // ALIGNMENT, length))
    return bool(((attend(query, key, key + length, address, lengths, lengths, length) - 1).abs() < 0.02).all())


def multiply(states: Tensor, weight: Tensor, scale: Tensor | None, format: int) -> Tensor:
    """The product of states (T, width) with a stored matrix: (T, rows) in the states' dtype. Requires `supports_gemv`."""
    with torch.cuda.device(states.device):
        product: Tensor = _products().multiply(states, weight, scale, format, _processors(states.device.index))
    return product


def dequantize(weight: Tensor, scale: Tensor, width: int, format: int, dtype: torch.dtype) -> Tensor:
    """The matrix (rows, width) in `dtype`, in one pass over the stored bytes. Requires `runs_on` for the weight's GPU."""
    with torch.cuda.device(weight.device):
        matrix: Tensor = _products().dequantize(weight, scale, width, format, dtype)
    return matrix


def attend(
    query: Tensor, key: Tensor, value: Tensor, addresses: Tensor, capacities: Tensor, lengths: Tensor, longest: int
) -> Tensor:
    """Append a position to each of several KV caches and compute its attention. Requires `supports_decode_attention`.

    See `triton_attention.attend`. `addresses`: in units of `ALIGNMENT` bytes.
    """
    with torch.cuda.device(query.device):
        out: Tensor = _attention().attend(query, key, value, addresses, capacities, lengths, longest)
    return out


@cache
def _processors(index: int) -> int:
    return int(torch.cuda.get_device_properties(index).multi_processor_count)


@cache
def _products() -> Any:
    from pixtral_cli.engines.local.kernels import triton_gemv

    return triton_gemv


@cache
def _attention() -> Any:
    from pixtral_cli.engines.local.kernels import triton_attention

    return triton_attention
