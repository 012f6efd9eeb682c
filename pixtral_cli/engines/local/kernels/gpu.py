"""Products with quantized weights on an NVIDIA GPU, by the Triton kernels where they run.

Triton comes with torch on Linux and needs a C compiler the first time it compiles. Where it is missing or fails, torch
multiplies with the dequantized matrix.
"""

import logging
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pixtral_cli.engines.local.kernels.formats import INT8, MAX_ROWS

MIN_CAPABILITY = (8, 0)  # tensor cores for bfloat16
DTYPES_16_BIT = (torch.bfloat16, torch.float16)


def supports_gemv(states: Tensor) -> bool:
    """Whether `multiply` takes these states (T, width)."""
    return (
        states.device.type == "cuda"
        and len(states) <= MAX_ROWS
        and states.dtype in DTYPES_16_BIT
        and runs_on(states.device.index)
    )


@cache
def runs_on(index: int) -> bool:
    """Whether the kernels compile and run on this GPU: tried once with a small product. Raises torch.OutOfMemoryError."""
    if torch.cuda.get_device_capability(index) < MIN_CAPABILITY:
        return False
    device = torch.device("cuda", index)
    states = torch.ones(1, 64, device=device, dtype=torch.bfloat16)
    weight, scale = torch.ones(64, 64, device=device, dtype=torch.int8), torch.ones(64, device=device)
    try:
        return bool((multiply(states, weight, scale, INT8) == 64).all())
    except torch.OutOfMemoryError:
        raise  # says nothing about the kernels, and would be remembered
    except Exception as error:  # a missing package, compiler or driver: Triton raises many kinds
        logging.getLogger(__name__).info("Triton's kernels do not run here: %s", str(error).partition("\n")[0][:200])
        return False


def multiply(states: Tensor, weight: Tensor, scale: Tensor | None, format: int) -> Tensor:
    """The product of states (T, width) with a stored matrix: (T, rows) in the states' dtype, where `supports_gemv`."""
    with torch.cuda.device(states.device):
        product: Tensor = _kernels().multiply(states, weight, scale, format, _processors(states.device.index))
    return product


def dequantize(weight: Tensor, scale: Tensor, width: int, format: int, dtype: torch.dtype) -> Tensor:
    """The matrix (rows, width) in `dtype`, in one pass over the stored bytes, where `runs_on` the weight's GPU."""
    with torch.cuda.device(weight.device):
        matrix: Tensor = _kernels().dequantize(weight, scale, width, format, dtype)
    return matrix


@cache
def _processors(index: int) -> int:
    return int(torch.cuda.get_device_properties(index).multi_processor_count)


@cache
def _kernels() -> Any:
    from pixtral_cli.engines.local.kernels import triton_gemv

    return triton_gemv
