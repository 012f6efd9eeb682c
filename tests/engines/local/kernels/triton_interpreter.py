"""Runs the Triton kernels in Triton's interpreter and compares them with torch. `test_gpu.py` starts this in a process.

The interpreter keeps bfloat16 as its bits in 16-bit integers and computes with those; `mend_bfloat16` lets it compute
with the values, as a GPU does.
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ |= {"TRITON_INTERPRET": "1", "PIXTRAL_KERNEL": "none"}

import numpy as np
import torch
import triton.language as tl
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from triton.runtime import interpreter

from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.kernels import gpu, triton_attention, triton_gemv
from pixtral_cli.engines.local.kernels.formats import ALIGNMENT, FP8, INT4, INT8, PLAIN
from pixtral_cli.engines.local.model.decoder import Decoder
from pixtral_cli.engines.local.weights.fp8_linear import dequantize_fp8
from pixtral_cli.engines.local.weights.quantized_linear import pack, unpack
from tests.engines.local.checkpoints import Sizes, build
from tests.engines.local.model.test_fused_step import after, written

SHAPES = [
    (96, 256, 1),
    (96, 256, 5),
    (40, 320, 3),
    (33, 100, 2),
    (64, 1088, 16),
    (64, 256, 17),
    (70, 640, 32),
    (130, 2048, 1),
]
TOLERANCE = {torch.bfloat16: 4e-3, torch.float16: 1e-3}  # of the relative error: one rounding of the output


def mend_bfloat16() -> None:
    builder = interpreter.InterpreterBuilder
    handle = interpreter.TensorHandle
    cast, binary = builder.cast_impl, builder.binary_op

    def values(tensor: object) -> np.ndarray:
        if tensor.dtype.scalar != tl.bfloat16:
            return tensor.data
        return (np.ascontiguousarray(tensor.data).astype(np.uint32) << 16).view(np.float32)

    def rounded(data: np.ndarray) -> object:
        narrow = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32)).bfloat16()
        return handle(narrow.view(torch.uint16).numpy().reshape(data.shape), tl.bfloat16)

    def cast_impl(self: object, source: object, target: object) -> object:
        if source.dtype.scalar == target.scalar:
            return source
        if target.scalar == tl.bfloat16:
            return rounded(source.data.astype(np.float32))
        if source.dtype.scalar == tl.bfloat16:
            return handle(values(source).astype(interpreter._get_np_dtype(target)), target.scalar)
        return cast(self, source, target)

    def binary_op(self: object, left: object, right: object, operation: object) -> object:
        if left.dtype.scalar == tl.bfloat16 and operation in (np.add, np.subtract, np.multiply):
            return rounded(operation(values(left), values(right)))
        return binary(self, left, right, operation)

    def create_dot(self: object, left: object, right: object, sums: object, *_: object) -> object:
        product = np.matmul(values(left).astype(np.float32), values(right).astype(np.float32))
        return handle(product + sums.data, sums.dtype.scalar)

    builder.cast_impl, builder.binary_op, builder.create_dot = cast_impl, binary_op, create_dot
    builder.create_fp_to_fp = lambda self, source, target, _rounding: cast_impl(self, source, target)


def stored(matrix: Tensor, format: int, dtype: torch.dtype) -> tuple[Tensor, Tensor | None, Tensor]:
    """A matrix in a format: numbers, scales, and in float64 what they stand for."""
    if format == PLAIN:
        return matrix.to(dtype), None, matrix.to(dtype).double()
    if format == FP8:
        scale = matrix.abs().amax(1) / 448
        numbers = (matrix / scale[:, None]).to(torch.float8_e4m3fn)
        return numbers, scale, numbers.double() * scale[:, None].double()
    numbers, scale = pack(matrix, format)
    exact = (
        numbers.double() * scale[:, None].double() if format == INT8 else unpack(numbers, scale, torch.float32).double()
    )
    return numbers, scale, exact[:, : matrix.shape[1]]


def check_products() -> int:
    count = 0
    for dtype, tolerance in TOLERANCE.items():
        for rows, width, positions in SHAPES:
            matrix, states = torch.randn(rows, width) / width**0.5, torch.randn(positions, width).to(dtype)
            for format in (PLAIN, FP8, INT8, INT4):
                numbers, scale, exact = stored(matrix, format, dtype)
                found = triton_gemv.multiply(states, numbers, scale, format, processors=8)
                expected = states.double() @ exact.T
                error = float((found.double() - expected).norm() / expected.norm())
                assert error < tolerance, (dtype, rows, width, positions, format, error)
                alone = [
                    triton_gemv.multiply(each, numbers, scale, format, processors=8) for each in states[:3].split(1)
                ]
                assert torch.equal(torch.cat(alone), found[:3]), (dtype, rows, width, positions, format, "not as alone")
                count += 1
    return count


def check_dequantizing() -> int:
    count = 0
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        for rows, width, _ in SHAPES:
            for format in (FP8, INT8, INT4):
                numbers, scale, _ = stored(torch.randn(rows, width), format, dtype)
                assert scale is not None
                found = triton_gemv.dequantize(numbers, scale, width, format, dtype)
                whole = dequantize_fp8(numbers, scale, dtype) if format == FP8 else unpack(numbers, scale, dtype)
                assert torch.equal(found, whole[:, :width]), (dtype, rows, width, format)
                count += 1
    every = torch.arange(256, dtype=torch.uint8)
    every = every[(every & 0x7F) != 0x7F][None].view(torch.float8_e4m3fn)  # all values but NaN
    exact = triton_gemv.dequantize(every, torch.ones(1), every.shape[1], FP8, torch.float32)
    assert torch.equal(exact, every.float()), "e4m3"
    return count + 1


def check_attention() -> int:
    """Sequences of all lengths in one call, beside each other and alone; what lies after a cache's positions is not read."""
    count = 0
    few, many = [1, 64, 65, 513, 1200], [1, 63, 64, 512, 513, 9000]
    for dtype, tolerance in ((torch.float16, 1e-3), (torch.bfloat16, 5e-3)):
        for groups, heads, size, lengths in ((1, 1, 32, many), (2, 8, 64, few), (4, 16, 128, few), (3, 48, 32, few)):
            stores = [torch.full((2, groups, length + 7, size), float("nan"), dtype=dtype) for length in lengths]
            for store, length in zip(stores, lengths, strict=True):
                store[:, :, : length - 1] = torch.randn(2, groups, length - 1, size)
            query = torch.randn(len(lengths), heads, size).to(dtype)
            key, value = torch.randn(2, len(lengths), groups, size).to(dtype)
            table = torch.tensor(
                [[store.data_ptr() // ALIGNMENT, store.shape[2], n] for store, n in zip(stores, lengths, strict=True)]
            )
            found = triton_attention.attend(query, key, value, *table.T.contiguous(), max(lengths))
            for at, (store, length) in enumerate(zip(stores, lengths, strict=True)):
                assert torch.equal(store[:, :, length - 1], torch.stack([key[at], value[at]])), "not appended"
                assert store[:, :, length:].isnan().all(), "written beyond"
                keys, values = store[:, :, :length].double()
                grouped = query[at].double().view(1, groups, heads // groups, size)
                expected = scaled_dot_product_attention(grouped, keys[None], values[None]).view(heads, size)
                error = float((found[at].double() - expected).norm() / expected.norm())
                assert error < tolerance, (dtype, groups, heads, size, length, error)
                one = slice(at, at + 1)
                alone = triton_attention.attend(query[one], key[one], value[one], *table[one].T.contiguous(), length)
                assert torch.equal(alone, found[one]), (dtype, groups, heads, size, length, "not as alone")
                count += 1
    return count


def check_decoder() -> int:
    """Decode steps of several sequences through the whole decoder: the states, keys and values of a step one by one."""
    count = 0
    scaling = {"llama_4_scaling": {"original_max_position_embeddings": 64, "beta": 0.5}}
    for sizes in (Sizes(head_dim=32), Sizes(heads=6, kv_heads=3, head_dim=64, layers=3, extra=scaling)):
        with TemporaryDirectory() as folder:
            runner = LocalEngine(build(Path(folder), sizes), device="cpu", dtype="fp32").load()
        decoder = Decoder(runner.weights, runner._params)
        states: list[Tensor] = []
        kept: list[list[Tensor]] = []
        for kernel in (False, True):
            gpu.supports_decode_attention = lambda *_, kernel=kernel: kernel
            caches = [written(runner, decoder, length) for length in (3, 300, 64, 700)]
            found = [
                after(decoder, caches, [1] * 4),
                after(decoder, caches[1:], [1] * 3),
                after(decoder, caches[:1], [1]),
            ]
            states.append(torch.cat(found))
            kept.append([layer[:, :, : cache.length] for cache in caches for layer in cache._layers])
        torch.testing.assert_close(states[1], states[0], rtol=1e-4, atol=1e-4)
        for ours, theirs in zip(*kept, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        count += len(states[0])
    return count


if __name__ == "__main__":
    torch.manual_seed(0)
    mend_bfloat16()
    gpu.attend = triton_attention.attend  # type: ignore[assignment]
    print(f"{check_products()} products, {check_dequantizing()} dequantized matrices")
    print(f"{check_attention()} sequences attended, {check_decoder()} positions decoded")
    sys.exit(0)
