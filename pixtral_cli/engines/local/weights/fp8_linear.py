"""Linear layers whose weights stay in 8-bit floating point (e4m3fn, arXiv 2209.05433), one byte each."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixtral_cli.engines.local.kernels import cpu, gpu
from pixtral_cli.engines.local.kernels.formats import FP8, MAX_ROWS

PART_NUMBERS = 1 << 20  # weights converted at a time on a CPU, so that they fit in its cache


class Fp8Linear(nn.Module):
    """A linear layer without bias: weight = `weight` (rows, width) * `scale`, a scalar () or one for each row (rows,)."""

    weight: Tensor
    scale: Tensor

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self._row_scales = torch.empty(0)

    def row_scales(self) -> Tensor:
        """The scales as the kernels read them: float32, one for each row."""
        if self._row_scales.device != self.scale.device or len(self._row_scales) != len(self.weight):
            self._row_scales = self.scale.float().expand(len(self.weight)).contiguous()
        return self._row_scales

    @property
    def matrix(self) -> cpu.Matrix:
        """The weights as the CPU kernel reads them."""
        return cpu.matrix(self.weight, self.weight.shape[1], self.row_scales(), FP8)

    def forward(self, states: Tensor) -> Tensor:
        """`states` (T, width) to (T, rows), in the same dtype."""
        device, dtype = states.device, states.dtype
        if cpu.gemm_supports(device, dtype, FP8) or (len(states) <= MAX_ROWS and cpu.kernel_supports(device, dtype)):
            return cpu.multiply(self.matrix, states, torch.get_num_threads())
        if gpu.supports_gemv(states):
            return gpu.multiply(states, self.weight, self.row_scales(), FP8)
        return fp8_product(self.weight, self.scale, states)


def fp8_product(weight: Tensor, scale: Tensor, states: Tensor) -> Tensor:
    """states (T, width) times the transposed matrix weight * scale: (T, rows), by torch.

    On a CPU the weights are converted part by part, so that the matrix is never in memory in another dtype.
    """
    count = max(1, PART_NUMBERS // weight.shape[1]) if weight.device.type == "cpu" else len(weight)
    scales = scale.expand(len(weight))
    parts = [
        _part_product(weight[start : start + count], scales[start : start + count], states)
        for start in range(0, len(weight), count)
    ]
    return torch.cat(parts, -1) if len(parts) > 1 else parts[0]


def _part_product(weight: Tensor, scale: Tensor, states: Tensor) -> Tensor:
    if states.dtype == torch.float16:  # unscaled sums could exceed its range
        return F.linear(states, dequantize_fp8(weight, scale, torch.float16))
    return (F.linear(states, weight.to(states.dtype)) * scale).to(states.dtype)


def dequantize_fp8(weight: Tensor, scale: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """weight * scale in `dtype`, rounded once."""
    return (weight.float() * scale.expand(len(weight))[:, None]).to(dtype)


def has_nan(weight: Tensor) -> bool:
    """Whether an e4m3fn tensor holds a NaN, its only value that is not finite."""
    return bool(((weight.view(torch.uint8) & 0x7F) == 0x7F).any())
