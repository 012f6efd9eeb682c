"""Weights that a checkpoint stores quantized: mistral's and transformers' FP8, and compressed-tensors' 4 and 8 bits.

FP8 is used as stored; integers are converted to the layout of `quantized_linear` where their groups allow it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixtral_cli.engines.local.config import verify_hint
from pixtral_cli.engines.local.weights.fp8_linear import Fp8Linear, dequantize_fp8
from pixtral_cli.engines.local.weights.quantized_linear import GROUP_SIZE, PART_NUMBERS, QuantizedLinear, packed_bytes
from pixtral_cli.engines.local.weights.tensors import TensorSource
from pixtral_cli.errors import ModelError

FP8, INT8, INT4 = "fp8", "8bit", "4bit"
FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
SCALE, PACKED, SHAPE, ACTIVATIONS = "qscale_weight", "weight_packed", "weight_shape", "qscale_act"
OTHER_FORMAT_HINT = "Take the checkpoint in bfloat16 or FP8"


@dataclass(frozen=True, slots=True)
class QuantizedWeight:
    """A stored matrix (rows, width).

    `scheme`: FP8, INT8 or INT4; `read` returns numbers and scales in our layers' layout.
    """

    shape: tuple[int, ...]
    scheme: str
    read: Callable[[], tuple[Tensor, Tensor]]

    @property
    def size(self) -> int:
        """Bytes in memory."""
        rows, width = self.shape
        return rows * width if self.scheme == FP8 else packed_bytes(self.shape, 8 if self.scheme == INT8 else 4)

    def layer(self, to_device: Callable[[Tensor], Tensor]) -> nn.Module:
        """The linear layer of this weight, its tensors moved by `to_device`."""
        numbers, scale = map(to_device, self.read())
        return Fp8Linear(numbers, scale) if self.scheme == FP8 else QuantizedLinear(numbers, scale, self.shape[1])

    def dequantized(self) -> Tensor:
        """The matrix in float32; only for FP8."""
        return dequantize_fp8(*self.read())


def split_quantized(
    tensors: dict[str, TensorSource], name: str
) -> tuple[dict[str, TensorSource], dict[str, QuantizedWeight]]:
    """The tensors stored as plain floating point, and the quantized ones by the name of their weight.

    Raises ModelError for a quantization that no layer of the local engine represents, and for scales that are missing,
    of a wrong shape, negative or not finite.
    """
    plain: dict[str, TensorSource] = {}
    quantized: dict[str, QuantizedWeight] = {}
    used: set[str] = set()
    for key, tensor in tensors.items():
        module, _, kind = key.rpartition(".")
        if kind == PACKED or (kind == "weight" and tensor.dtype in (torch.float8_e4m3fn, torch.int8)):
            scale_key = f"{module}.{SCALE}"
            if scale_key not in tensors:
                raise _invalid(name, f"{key} is quantized and has no scale {SCALE}")
            used |= {key, scale_key, f"{module}.{SHAPE}"}
            quantized[f"{module}.weight"] = _quantized(key, tensor, scale_key, tensors, name)
        elif tensor.dtype in FLOATS and kind not in (SCALE, ACTIVATIONS):
            plain[key] = tensor
    for key, tensor in tensors.items():
        if key not in used and key not in plain and key.rpartition(".")[2] != ACTIVATIONS:
            dtype = str(tensor.dtype).removeprefix("torch.")
            message = f"Weights of {name}: {key} ({dtype}) belongs to a quantization that the local engine cannot run"
            raise ModelError(message[:160], OTHER_FORMAT_HINT)
    return plain, quantized


def _quantized(
    key: str, tensor: TensorSource, scale_key: str, tensors: dict[str, TensorSource], name: str
) -> QuantizedWeight:
    """The quantized weight of a tensor and its scale. Raises ModelError."""
    if len(tensor.shape) != 2:
        raise _invalid(name, f"{key} is {list(tensor.shape)}, not a matrix")
    scale = _checked_scale(scale_key, tensors[scale_key], name)
    rows, columns = tensor.shape
    if tensor.dtype in (torch.float8_e4m3fn, torch.int8):
        if tuple(scale.shape) not in ((), (1,), (rows,), (rows, 1)):
            raise _invalid(name, f"{scale_key} is {list(scale.shape)}, neither a number nor one for each row")
        per_row = scale.reshape(-1) if scale.numel() > 1 else scale.reshape(())
        if tensor.dtype == torch.int8:
            return QuantizedWeight(tensor.shape, INT8, partial(_int8, tensor.read, per_row.expand(rows)))
        return QuantizedWeight(tensor.shape, FP8, lambda: (tensor.read(), per_row))
    shape_key = key.replace(PACKED, SHAPE)
    if shape_key not in tensors:
        raise _invalid(name, f"{key} has no {SHAPE}")
    shape = tuple(map(int, tensors[shape_key].read().tolist()))
    bits = {-(-shape[1] // (32 // bits)): bits for bits in (4, 8)}.get(columns) if len(shape) == 2 else None
    groups = scale.shape[1] if scale.dim() == 2 else 1
    if bits is None or shape[0] != rows or len(scale) != rows or tensor.dtype != torch.int32:
        raise _invalid(name, f"{key} is {list(tensor.shape)} for {list(shape)}, which is neither 4 nor 8 bits")
    group = -(-shape[1] // groups)
    if groups > 1 and (bits == 8 or group % GROUP_SIZE or shape[1] % group):
        what = f"{key} has groups of {group} for {bits} bits"
        raise ModelError(f"Weights of {name}: {what}, which the local engine cannot run"[:160], OTHER_FORMAT_HINT)
    read = partial(_int4 if bits == 4 else _packed8, tensor.read, shape, scale)
    return QuantizedWeight(shape, INT4 if bits == 4 else INT8, read)


def _checked_scale(key: str, source: TensorSource, name: str) -> Tensor:
    """A scale in float32. Raises ModelError for one that is negative, not finite or not floating point."""
    if source.dtype not in FLOATS:
        raise _invalid(name, f"{key} is of type {str(source.dtype).removeprefix('torch.')}")
    scale = source.read().float()
    if not scale.numel() or not scale.isfinite().all() or scale.min() < 0:
        raise _invalid(name, f"{key} is not a positive finite number")
    return scale


def _int8(read: Callable[[], Tensor], scale: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers stored as int8, with rows padded to whole groups, and their scales."""
    numbers = read()
    return F.pad(numbers, (0, -numbers.shape[1] % GROUP_SIZE)), scale.contiguous()


def _packed8(read: Callable[[], Tensor], shape: tuple[int, ...], scale: Tensor) -> tuple[Tensor, Tensor]:
    """Unpacks numbers stored by four in an int32, each with 128 added, the first in the lowest byte."""
    numbers = (read().contiguous().view(torch.uint8)[:, : shape[1]] ^ 128).view(torch.int8)
    return F.pad(numbers, (0, -shape[1] % GROUP_SIZE)), scale.reshape(-1)


def _int4(read: Callable[[], Tensor], shape: tuple[int, ...], scale: Tensor) -> tuple[Tensor, Tensor]:
    """Repacks numbers stored by eight in an int32, each plus 8, the first in the lowest bits; splits the groups."""
    packed, (rows, width) = read(), shape
    groups = -(-width // GROUP_SIZE)
    out = torch.empty(rows, groups * GROUP_SIZE // 2, dtype=torch.uint8)
    step = max(1, PART_NUMBERS // width)
    for start in range(0, rows, step):
        octets = packed[start : start + step].contiguous().view(torch.uint8)
        numbers = torch.stack([octets & 15, octets >> 4], -1).flatten(1)[:, :width]
        numbers = F.pad(numbers, (0, -width % GROUP_SIZE), value=8)
        low, high = numbers.view(len(octets), groups, 2, GROUP_SIZE // 2).unbind(2)
        out[start : start + step] = (low | high << 4).flatten(1)
    scales = scale.view(rows, -1)
    return out, scales.repeat_interleave(-(-groups // scales.shape[1]), 1).bfloat16().contiguous()


def _invalid(name: str, what: str) -> ModelError:
    """The error about weights that are not valid."""
    return ModelError(f"Weights of {name}: {what}"[:160], verify_hint(name))
