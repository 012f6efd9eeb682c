"""What the machine allows: how fast memory is read, and how fast matrices of a model's shapes are multiplied."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import Linear

from benchmarks.checkpoints import shape
from pixtral_cli.engines.local.kernels import cpu

READ = 1 << 28  # bytes: more than any cache holds
ROWS = (256, 1024)  # positions of a product
TIMES = 3


def measure(folder: str) -> dict[str, float]:
    """`read` in bytes a second, by the best of several kernels; `matrix` in operations a second, bf16."""
    return {"read": reading(torch.bfloat16), "matrix": multiplying(shape(Path(folder)).layer)}


def reading(dtype: torch.dtype) -> float:
    width = 4096
    matrix = _linear(READ // width // dtype.itemsize, width, dtype)
    vector, numbers = torch.ones(1, width, dtype=dtype), matrix.weight.view(torch.int32)
    kernels: list[Callable[[], object]] = [
        lambda: cpu.linear(matrix, vector), lambda: matrix(vector), lambda: torch.sum(numbers), numbers.max,
    ]  # fmt: skip
    with torch.inference_mode():
        return READ / min(_best(kernel) for kernel in kernels)


def multiplying(shapes: tuple[tuple[int, int], ...]) -> float:
    """A layer's products, one after the other, at the number of rows that goes best."""
    with torch.inference_mode():
        return max(_multiplying(shapes, rows) for rows in ROWS)


def _multiplying(shapes: tuple[tuple[int, int], ...], rows: int) -> float:
    seconds = sum(_product(out, width, rows) for out, width in shapes)
    return sum(2.0 * out * width * rows for out, width in shapes) / seconds


def _product(out: int, width: int, rows: int) -> float:
    matrix, states = _linear(out, width, torch.bfloat16), torch.ones(rows, width, dtype=torch.bfloat16)
    return _best(lambda: matrix(states))


def _linear(out: int, width: int, dtype: torch.dtype) -> Any:
    return Linear(width, out, bias=False, dtype=dtype).requires_grad_(False)


def _best(work: Callable[[], object]) -> float:
    return min(_seconds(work) for _ in range(TIMES + 1))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
