"""The element-wise parts of the transformers: plain, or compiled to one pass each over memory for training on a CPU."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-5


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1)


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight.to(x.dtype), EPS)


def _gate(a: Tensor, b: Tensor) -> Tensor:
    return F.silu(a) * b


class Parts:
    """What `demo.twin` calls. `compile` needs a C++ compiler and takes seconds in each process that trains."""

    def __init__(self) -> None:
        self.plain()

    def plain(self) -> None:
        self.rotate: Callable[[Tensor, Tensor, Tensor], Tensor] = _rotate
        self.norm: Callable[[Tensor, Tensor], Tensor] = _norm
        self.gate: Callable[[Tensor, Tensor], Tensor] = _gate

    def compile(self) -> None:
        """Equal to the plain parts up to rounding; sizes are left open, as every batch has its own."""
        torch._dynamo.config.recompile_limit = 64
        self.rotate = torch.compile(_rotate, dynamic=True)
        self.norm = torch.compile(_norm, dynamic=True)
        self.gate = torch.compile(_gate, dynamic=True)


parts = Parts()
