"""Linear layers with weights quantized to integers of 8 or 4 bits, and the quantization.

8-bit weights have a float32 scale for each row, 4-bit weights (-8 to 7) a bfloat16 scale for each group of 64 in a row.
The byte layout is that of the CPU kernel (kernels/gemv_packed.h), which multiplies where it runs; elsewhere torch does.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixtral_cli.engines.local.kernels import gpu
from pixtral_cli.engines.local.kernels.cpu import Matrix, gemm_supports, kernel_supports, matrix, multiply
from pixtral_cli.engines.local.kernels.formats import MAX_ROWS

GROUP_SIZE = 64  # numbers that share a scale; rows are padded to whole groups
BITS = {"8bit": 8, "4bit": 4}
PART_NUMBERS = 1 << 22  # numbers quantized, or multiplied by torch on a CPU, at a time
UNPACK_NUMBERS = 1 << 20  # numbers unpacked at a time on a CPU, so that they fit in its cache
INT8_PRODUCT_DEVICES = ("cpu", "mps")  # devices on which torch's product with 8-bit weights is fast
SCALE_STARTS = (1.0, 0.9)  # fractions of a group's range from which its scale is fitted


def packed_layout(shape: Sequence[int], bits: int) -> list[tuple[tuple[int, ...], torch.dtype]]:
    """Shape and dtype of the packed numbers and of the scales of a (rows, width) matrix."""
    rows, width = shape
    groups = -(-width // GROUP_SIZE)
    if bits == 8:
        return [((rows, groups * GROUP_SIZE), torch.int8), ((rows,), torch.float32)]
    return [((rows, groups * GROUP_SIZE // 2), torch.uint8), ((rows, groups), torch.bfloat16)]


def packed_bytes(shape: Sequence[int], bits: int) -> int:
    """Bytes of a quantized (rows, width) matrix with its scales."""
    return sum(math.prod(size) * dtype.itemsize for size, dtype in packed_layout(shape, bits))


def tensor_names(key: str) -> tuple[str, str]:
    """The names under which a tensor's numbers and scales are stored."""
    return key, f"{key.removesuffix('weight')}scale"


@torch.inference_mode()
def pack(weight: Tensor, bits: int, check: Callable[[], None] = lambda: None) -> tuple[Tensor, Tensor]:
    """Quantize a matrix on the CPU to packed numbers and scales; `check` is called often and may raise."""
    rows, width = weight.shape
    packed, scale = (torch.empty(size, dtype=kind) for size, kind in packed_layout(weight.shape, bits))
    step = max(1, PART_NUMBERS // width)
    for start in range(0, rows, step):
        check()
        part = F.pad(weight[start : start + step].to("cpu", torch.float32), (0, -width % GROUP_SIZE))
        stop = start + len(part)
        packed[start:stop], scale[start:stop] = _pack8(part) if bits == 8 else _pack4(part)
    return packed, scale


def _pack8(weight: Tensor) -> tuple[Tensor, Tensor]:
    scale = weight.abs().amax(1) / 127
    return (weight / _nonzero(scale[:, None])).round_().to(torch.int8), scale


def _pack4(weight: Tensor) -> tuple[Tensor, Tensor]:
    """For each value of `SCALE_STARTS` a least-squares scale of every group; the one with the smaller error is taken."""
    groups = weight.view(len(weight), -1, GROUP_SIZE)
    extremes = groups.gather(2, groups.abs().argmax(2, keepdim=True))
    best: tuple[Tensor, Tensor, Tensor] | None = None
    for start in SCALE_STARTS:
        numbers = _round4(groups, extremes * (start / -8))
        fitted = (groups * numbers).sum(2, keepdim=True) / (numbers * numbers).sum(2, keepdim=True).clamp_(min=1)
        scale = fitted.bfloat16().float()
        numbers = _round4(groups, scale)
        error = (numbers * scale - groups).square_().sum(2, keepdim=True)
        if best:
            better = error < best[0]
            numbers, scale = torch.where(better, numbers, best[1]), torch.where(better, scale, best[2])
            error = torch.minimum(error, best[0])
        best = error, numbers, scale
    assert best
    low, high = (best[1] + 8).to(torch.uint8).view(len(weight), -1, 2, GROUP_SIZE // 2).unbind(2)
    return (low | high << 4).flatten(1), best[2][:, :, 0].bfloat16()


def _round4(groups: Tensor, scale: Tensor) -> Tensor:
    return (groups / _nonzero(scale)).round_().clamp_(-8, 7)


def _nonzero(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, 1, scale)


class QuantizedLinear(nn.Module):
    """A linear layer without bias with packed weights. `width`: columns without padding."""

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
        """The weights as the CPU kernel reads them."""
        return matrix(self.weight, self.width, self.scale, self.bits)

    def forward(self, states: Tensor) -> Tensor:
        """`states` (T, width) to (T, rows), in the same dtype."""
        few, device, dtype = len(states) <= MAX_ROWS, states.device, states.dtype
        if gemm_supports(device, dtype, self.bits) or (few and kernel_supports(device, dtype)):
            return multiply(self.matrix, states, torch.get_num_threads())
        if gpu.supports_gemv(states):
            return gpu.multiply(states, self.weight, self.scale, self.bits)
        if few and self.bits == 8 and states.device.type in INT8_PRODUCT_DEVICES:
            states = F.pad(states, (0, -self.width % GROUP_SIZE))
            return torch._weight_int8pack_mm(states, self.weight, self.scale.to(states.dtype))
        step = PART_NUMBERS // self.width if states.device.type == "cpu" else len(self.weight)
        parts = [
            F.linear(states, self.unpacked(start, start + step, states.dtype))
            for start in range(0, len(self.weight), max(1, step))
        ]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def unpacked(self, start: int, stop: int, dtype: torch.dtype) -> Tensor:
        """Rows [start, stop) of the dequantized matrix."""
        if self.weight.device.type == "cuda" and gpu.runs_on(self.weight.device.index):
            return gpu.dequantize(self.weight[start:stop], self.scale[start:stop], self.width, self.bits, dtype)
        return unpack(self.weight[start:stop], self.scale[start:stop], dtype)[:, : self.width]


def unpack(packed: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Packed numbers times their scales, rounded once to `dtype`, with the padding of rows."""
    width = packed.shape[1] * (1 if scale.dim() == 1 else 2)
    out = packed.new_empty(len(packed), width, dtype=dtype)
    rows = max(1, UNPACK_NUMBERS // width) if packed.device.type == "cpu" else len(packed)
    for parts in zip(*(torch.split(tensor, rows) for tensor in (packed, scale, out)), strict=True):
        _unpack(*parts)
    return out


def _unpack(packed: Tensor, scale: Tensor, out: Tensor) -> None:
    """Write packed numbers times their scales to `out`."""
    if scale.dim() == 1:
        out.copy_(packed * scale[:, None])
        return
    pairs = packed.view(len(packed), -1, 1, GROUP_SIZE // 2)
    numbers = torch.cat([pairs & 15, pairs >> 4], 2).view(torch.int8).sub_(8).flatten(2)
    product_dtype = out.dtype if out.dtype == scale.dtype else torch.float32
    torch.mul(numbers.to(product_dtype), scale[:, :, None].to(product_dtype), out=out.view(numbers.shape))


def install(model: Any, key: str, layer: nn.Module) -> dict[str, Tensor]:
    """Replace the model's linear layer with the weight `key`; returns the new layer's tensors by name.

    Raises ValueError where the model has no linear layer without bias of that name.
    """
    path = key.removesuffix(".weight")
    parent, _, name = path.rpartition(".")
    replaced = model.get_submodule(path)
    if not isinstance(replaced, nn.Linear) or replaced.bias is not None:
        raise ValueError(f"{path} is not a linear layer without bias")
    setattr(model.get_submodule(parent), name, layer)
    return {f"{path}.{name}": tensor for name, tensor in layer.named_buffers()}
