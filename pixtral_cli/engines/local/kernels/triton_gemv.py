"""Triton kernels for NVIDIA GPUs: products of a few positions with weights of 16, 8 or 4 bits, and dequantizing.

The byte layouts are those of `weights/quantized_linear.py` and `weights/fp8_linear.py`. A product reads each weight
once, in the format it is stored in. The sums of one position do not depend on how many positions share a call. Imported
only where Triton is installed; see `gpu.py`.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pixtral_cli.engines.local.kernels.formats import FP8, INT4, INT8, MAX_ROWS, PLAIN

BLOCK_OUT = 64  # rows of the matrix that a program computes
# Bytes of a row at a time; elements for PLAIN, one group for INT4.
BLOCK_BYTES = {PLAIN: 64, FP8: 64, INT8: 64, INT4: 32}
PROGRAMS_PER_PROCESSOR = 4
MIN_BLOCKS_PER_SPLIT = 8

_FP8, _INT4, _INT8 = tl.constexpr(FP8), tl.constexpr(INT4), tl.constexpr(INT8)


@triton.jit
def _e4m3_to_float16(stored):
    """Bytes in e4m3fn to float16, exactly: bits moved to float16's positions, times 2 ** (15 - 7) for the biases."""
    bits = stored.to(tl.int16)
    shifted = ((bits & 0x80) << 8) | ((bits & 0x7F) << 7)
    return shifted.to(tl.float16, bitcast=True) * 256.0


@triton.jit
def _int4_halves(stored, dtype: tl.constexpr):
    """The low and the high four bits of bytes, less 8, without an integer conversion, which takes longer than the load.

    A number n below 16 in the last bits of 128.0 (bfloat16) or 1024.0 (float16) is 128 + n or 1024 + n.
    """
    bits = stored.to(tl.int16)
    if dtype == tl.bfloat16:
        low = ((bits & 15) | 0x4300).to(dtype, bitcast=True)
        high = ((bits >> 4) | 0x4300).to(dtype, bitcast=True)
        offset = tl.full((), 136.0, dtype)
    else:
        low = ((bits & 15) | 0x6400).to(dtype, bitcast=True)
        high = ((bits >> 4) | 0x6400).to(dtype, bitcast=True)
        offset = tl.full((), 1032.0, dtype)
    return low - offset, high - offset


@triton.jit
def _gemv(
    states, weights, scales, out,
    n_states, width, n_out, row_bytes, groups, split_bytes,
    FORMAT: tl.constexpr, ROWS: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Partial products, float32, of states (n_states, width) with n_out rows of a matrix: (splits, n_states, n_out).

    Program (i, s) computes BLOCK_OUT rows over `split_bytes` bytes of each, from byte s * split_bytes on.
    """
    row = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    split = tl.program_id(1)
    position = tl.arange(0, ROWS)
    offset = tl.arange(0, BLOCK)
    dtype: tl.constexpr = states.dtype.element_ty
    row_valid = row < n_out
    position_valid = position < n_states
    row_start = weights + row.to(tl.int64)[None, :] * row_bytes
    state_start = states + position[:, None] * width
    sums = tl.zeros((ROWS, BLOCK_OUT), tl.float32)
    for start in range(split * split_bytes, tl.minimum((split + 1) * split_bytes, row_bytes), BLOCK):
        place = start + offset
        if (
            FORMAT == _INT4
        ):  # a group of 64: its first 32 numbers in the low halves of 32 bytes, the others in the high ones
            stored = tl.load(row_start + place[:, None], mask=row_valid[None, :], other=0)
            low, high = _int4_halves(stored, dtype)
            column = 2 * start + offset
            first = tl.load(state_start + column[None, :], position_valid[:, None] & (column < width)[None, :], 0.0)
            column += 32
            second = tl.load(state_start + column[None, :], position_valid[:, None] & (column < width)[None, :], 0.0)
            part = tl.dot(second, high, tl.dot(first, low))
            scale = tl.load(scales + row * groups + start // 32, mask=row_valid, other=0.0)
            sums += part * scale.to(tl.float32)[None, :]
        else:
            inside = place < width
            stored = tl.load(row_start + place[:, None], mask=row_valid[None, :] & inside[:, None], other=0)
            numbers = (_e4m3_to_float16(stored) if FORMAT == _FP8 else stored).to(dtype)
            part = tl.load(state_start + place[None, :], position_valid[:, None] & inside[None, :], 0.0)
            sums = tl.dot(part, numbers, sums)
    if FORMAT == _FP8 or FORMAT == _INT8:  # noqa: SIM109  (not a tuple: Triton's compiler knows no `in`)
        sums *= tl.load(scales + row, mask=row_valid, other=0.0).to(tl.float32)[None, :]
    place = (split * n_states + position).to(tl.int64)[:, None] * n_out + row[None, :]
    tl.store(out + place, sums, mask=position_valid[:, None] & row_valid[None, :])


@triton.jit
def _dequantize(
    weights, scales, out, width, n_out, row_bytes, groups,
    FORMAT: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The dequantized matrix (n_out, width): packed numbers times scales, each element rounded once."""
    row = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)[:, None]
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    dtype: tl.constexpr = out.dtype.element_ty
    valid = (row < n_out) & (place < row_bytes)
    stored = tl.load(weights + row.to(tl.int64) * row_bytes + place, mask=valid, other=0)
    target = out + row.to(tl.int64) * width
    if FORMAT == _INT4:
        scale = tl.load(scales + row * groups + place // 32, mask=valid, other=0.0).to(tl.float32)
        column = place // 32 * 64 + place % 32
        low = ((stored & 15).to(tl.float32) - 8.0) * scale
        high = ((stored >> 4).to(tl.float32) - 8.0) * scale
        tl.store(target + column, low.to(dtype), mask=valid & (column < width))
        tl.store(target + column + 32, high.to(dtype), mask=valid & (column + 32 < width))
    else:
        scale = tl.load(scales + row, mask=row < n_out, other=0.0).to(tl.float32)
        number = (_e4m3_to_float16(stored) if FORMAT == _FP8 else stored).to(tl.float32)
        tl.store(target + place, (number * scale).to(dtype), mask=valid & (place < width))


def multiply(states: Tensor, weight: Tensor, scale: Tensor | None, format: int, processors: int) -> Tensor:
    """The product of states (T, width), T at most MAX_ROWS and in 16 bits, with a matrix as stored: (T, rows).

    `scale` is float32 (rows,) for 8 bits, bfloat16 (rows, groups) for 4 bits, None for plain weights. `processors` is
    the number of the GPU's multiprocessors: a matrix of few rows is split along its width to occupy them all.
    """
    (count, width), (rows, row_bytes) = states.shape, weight.shape
    block = BLOCK_BYTES[format]
    blocks = triton.cdiv(row_bytes, block)
    programs = triton.cdiv(rows, BLOCK_OUT)
    splits = max(1, min(blocks // MIN_BLOCKS_PER_SPLIT, PROGRAMS_PER_PROCESSOR * processors // programs))
    split_bytes = triton.cdiv(blocks, splits) * block
    splits = triton.cdiv(row_bytes, split_bytes)
    out = states.new_empty(splits, count, rows, dtype=torch.float32)
    _gemv[programs, splits](
        states.contiguous(), _bytes(weight, format), weight if scale is None else scale, out,
        count, width, rows, row_bytes, scale.shape[1] if scale is not None and scale.dim() == 2 else 1, split_bytes,
        format, 16 if count <= 16 else MAX_ROWS, BLOCK_OUT, block, num_warps=4, num_stages=4,
    )  # fmt: skip
    return (out.sum(0) if splits > 1 else out[0]).to(states.dtype)


def dequantize(weight: Tensor, scale: Tensor, width: int, format: int, dtype: torch.dtype) -> Tensor:
    """The dequantized matrix (rows, width) in `dtype`, equal to torch's result for the same bytes."""
    rows, row_bytes = weight.shape
    out = torch.empty(rows, width, device=weight.device, dtype=dtype)
    groups = scale.shape[1] if scale.dim() == 2 else 1
    _dequantize[triton.cdiv(rows, 8), triton.cdiv(row_bytes, 256)](
        _bytes(weight, format), scale, out, width, rows, row_bytes, groups, format, 8, 256
    )
    return out


def _bytes(weight: Tensor, format: int) -> Tensor:
    """The weight as it is passed to Triton: FP8 as bytes, since older GPUs lack the type."""
    return weight.view(torch.uint8) if format == FP8 else weight
