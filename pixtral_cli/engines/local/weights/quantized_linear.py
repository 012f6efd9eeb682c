"""Weights as whole numbers of 8 or 4 bits with scales: packing them, and products with them. Keeps nothing on disk.

8 bits have a float32 scale a row; 4 bits, -8 to 7, a bfloat16 scale a group of 64 of a row. The layout in bytes is that
of `product.c`, whose kernel serves a few positions on a CPU that has its instructions; elsewhere torch computes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixtral_cli.engines.local.kernels.cpu import FEW, Matrix, matrix, packed_product, supports_packed

GROUP = 64  # numbers that share a scale, and to which a row is padded
BITS = {"8bit": 8, "4bit": 4}
STRETCH = 1 << 22  # numbers that are packed, or multiplied with, at a time
NEAR = 1 << 20  # numbers that are unpacked at a time: their copies stay in a processor's cache
STARTS = (1.0, 0.9)  # of the range of a group: where the search for its best scale begins


def stored(shape: Sequence[int], bits: int) -> list[tuple[tuple[int, ...], torch.dtype]]:
    """Shape and dtype of the packed numbers, and those of the scales, of a (rows, width) matrix."""
    rows, width = shape
    groups = -(-width // GROUP)
    if bits == 8:
        return [((rows, groups * GROUP), torch.int8), ((rows,), torch.float32)]
    return [((rows, groups * GROUP // 2), torch.uint8), ((rows, groups), torch.bfloat16)]


def names(key: str) -> tuple[str, str]:
    """Those of a packed tensor's numbers and scales."""
    return key, f"{key.removesuffix('weight')}scale"


@torch.inference_mode()
def pack(weight: Tensor, bits: int, check: Callable[[], None] = lambda: None) -> tuple[Tensor, Tensor]:
    """A matrix as packed numbers and scales, on the CPU; `check` is called often and may raise."""
    rows, width = weight.shape
    packed, scale = (torch.empty(size, dtype=kind) for size, kind in stored(weight.shape, bits))
    step = max(1, STRETCH // width)
    for start in range(0, rows, step):
        check()
        part = F.pad(weight[start : start + step].to("cpu", torch.float32), (0, -width % GROUP))
        stop = start + len(part)
        packed[start:stop], scale[start:stop] = _pack8(part) if bits == 8 else _pack4(part)
    return packed, scale


def _pack8(weight: Tensor) -> tuple[Tensor, Tensor]:
    scale = weight.abs().amax(1) / 127
    return (weight / _divisor(scale[:, None])).round_().to(torch.int8), scale


def _pack4(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Of each start the scale that fits best, by least squares; of those, the better."""
    groups = weight.view(len(weight), -1, GROUP)
    furthest = groups.gather(2, groups.abs().argmax(2, keepdim=True))
    best: tuple[Tensor, Tensor, Tensor] | None = None
    for start in STARTS:
        numbers = _numbers(groups, furthest * (start / -8))
        fitted = (groups * numbers).sum(2, keepdim=True) / (numbers * numbers).sum(2, keepdim=True).clamp_(min=1)
        scale = fitted.bfloat16().float()
        numbers = _numbers(groups, scale)
        lost = (numbers * scale - groups).square_().sum(2, keepdim=True)
        if best:
            better = lost < best[0]
            numbers, scale = torch.where(better, numbers, best[1]), torch.where(better, scale, best[2])
            lost = torch.minimum(lost, best[0])
        best = lost, numbers, scale
    assert best
    low, high = (best[1] + 8).to(torch.uint8).view(len(weight), -1, 2, GROUP // 2).unbind(2)
    return (low | high << 4).flatten(1), best[2][:, :, 0].bfloat16()


def _numbers(groups: Tensor, scale: Tensor) -> Tensor:
    return (groups / _divisor(scale)).round_().clamp_(-8, 7)


def _divisor(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, 1, scale)


class Packed(nn.Module):
    """A linear layer without bias whose weights are packed."""

    weight: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, scale: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.width = width
        self.bits = 8 if scale.dim() == 1 else 4

    @property
    def matrix(self) -> Matrix:
        return matrix(self.weight, self.width, self.scale, self.bits)

    def forward(self, states: Tensor) -> Tensor:
        """`states` (T, width) to (T, rows), in the same dtype."""
        few = len(states) <= FEW
        if few and supports_packed(states.device, states.dtype):
            return packed_product(self.matrix, states)
        if few and self.bits == 8 and states.device.type == "cpu":
            states = F.pad(states, (0, -self.width % GROUP))
            return torch._weight_int8pack_mm(states, self.weight, self.scale.to(states.dtype))
        step = STRETCH // self.width if states.device.type == "cpu" else len(self.weight)
        parts = [
            F.linear(states, self.unpacked(start, start + step, states.dtype))
            for start in range(0, len(self.weight), max(1, step))
        ]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def unpacked(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        """Rows [start, stop) of the matrix as it was, nearly."""
        return unpack(self.weight[start:stop], self.scale[start:stop], dtype)[:, : self.width]


def unpack(packed: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Packed numbers times their scales, rounded once; whatever pads a row too."""
    width = packed.shape[1] * (1 if scale.dim() == 1 else 2)
    out = packed.new_empty(len(packed), width, dtype=dtype)
    rows = max(1, NEAR // width) if packed.device.type == "cpu" else len(packed)
    for parts in zip(*(torch.split(each, rows) for each in (packed, scale, out)), strict=True):
        _unpack(*parts)
    return out


def _unpack(packed: Tensor, scale: Tensor, out: Tensor) -> None:
    if scale.dim() == 1:
        out.copy_(packed * scale[:, None])
        return
    pairs = packed.view(len(packed), -1, 1, GROUP // 2)
    numbers = torch.cat([pairs & 15, pairs >> 4], 2).view(torch.int8).sub_(8).flatten(2)
    exact = out.dtype if out.dtype == scale.dtype else torch.float32
    torch.mul(numbers.to(exact), scale[:, :, None].to(exact), out=out.view(numbers.shape))


def fill(model: Any, pairs: Mapping[str, tuple[Tensor, Tensor]], device: torch.device) -> dict[str, Tensor]:
    """Put packed layers where a model has the linear layers of these names; returns what they hold, on the device."""
    state: dict[str, Tensor] = {}
    for key, pair in pairs.items():
        weight, scale = (tensor.to(device) for tensor in pair)
        place, _, name = key.removesuffix(".weight").rpartition(".")
        parent = model.get_submodule(place)
        setattr(parent, name, Packed(weight, scale, getattr(parent, name).in_features))
        state |= dict(zip(names(key), (weight, scale), strict=True))
    return state
