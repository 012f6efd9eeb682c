"""Compiles the Triton kernels to machine code for NVIDIA GPUs that are not here. `test_gpu.py` starts this in a process."""

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pixtral_cli.engines.local.kernels import triton_attention, triton_gemv
from pixtral_cli.engines.local.kernels.formats import ALIGNMENT, FP8, INT4, INT8, PLAIN
from pixtral_cli.engines.local.kernels.gpu import HEAD_DIMS

TARGETS = [(80, "bf16"), (80, "fp16"), (89, "bf16"), (90, "bf16"), (120, "bf16")]  # compute capability, dtype of states
WEIGHTS = {PLAIN: "*{}", FP8: "*u8", INT8: "*i8", INT4: "*u8"}
SCALES = {PLAIN: "*{}", FP8: "*fp32", INT8: "*fp32", INT4: "*bf16"}
ALIGNED = ("width", "n_out", "row_bytes", "split_bytes")  # multiples of 16 in every real model


def build(
    kernel: Any, format: int, dtype: str, constants: dict[str, int], capability: int, out: str, stages: int
) -> int:
    """Compile; the number of bytes of machine code."""
    pointers = {
        "states": f"*{dtype}",
        "weights": WEIGHTS[format].format(dtype),
        "scales": SCALES[format].format(dtype),
        "out": f"*{out}",
    }
    constants = {"FORMAT": format, **constants}
    return compiled_size(kernel, pointers, constants, capability, stages)


def attention_sizes(dtype: str, size: int, capability: int) -> list[int]:
    """Compile the kernels of decode attention with heads of this size; the numbers of bytes of machine code."""
    pointers = dict.fromkeys(("query", "key", "value", "origin", "out"), f"*{dtype}")
    pointers |= dict.fromkeys(("places", "capacities", "lengths"), "*i64") | dict.fromkeys(("sums", "weights"), "*fp32")
    grouped = {"GROUPS": 8, "D": size, "UNIT": ALIGNMENT // 2}
    stretches = {"STRETCH": triton_attention.STRETCH, "BLOCK": triton_attention.BLOCK}
    return [
        compiled_size(triton_attention._append, pointers, grouped, capability, 3),
        compiled_size(triton_attention._attend, pointers, {**grouped, **stretches, "HEADS_PER_GROUP": 4}, capability, 2),
        compiled_size(triton_attention._merge, pointers, {"HEADS": 32, "D": size, "STRETCH": triton_attention.STRETCH}, capability, 3),
    ]  # fmt: skip


def compiled_size(
    kernel: Any, pointers: dict[str, str], constants: dict[str, int], capability: int, stages: int
) -> int:
    names = kernel.arg_names
    scalars = {"scale": "fp32"}
    signature = {name: "constexpr" if name in constants else {**scalars, **pointers}.get(name, "i32") for name in names}
    aligned = {(names.index(name),): [["tt.divisibility", 16]] for name in names if name in {*pointers, *ALIGNED}}
    source = ASTSource(kernel, signature, {(names.index(name),): value for name, value in constants.items()}, aligned)
    compiled = triton.compile(
        source, target=GPUTarget("cuda", capability, 32), options={"num_warps": 4, "num_stages": stages}
    )
    assert compiled.metadata.shared <= 99 << 10, "more shared memory than the smallest of these GPUs has"
    return len(compiled.asm["cubin"])


def main() -> None:
    count = size = 0
    for capability, dtype in TARGETS:
        for format in (PLAIN, FP8, INT8, INT4):
            for rows in (16, triton_gemv.MAX_ROWS):
                block = triton_gemv.BLOCK_BYTES[format]
                constants = {"ROWS": rows, "BLOCK_OUT": triton_gemv.BLOCK_OUT, "BLOCK": block}
                size += build(triton_gemv._gemv, format, dtype, constants, capability, "fp32", 4)
                count += 1
            if format != PLAIN:
                constants = {"BLOCK_OUT": 8, "BLOCK": 256}
                size += build(triton_gemv._dequantize, format, dtype, constants, capability, dtype, 3)
                count += 1
        for head_dim in HEAD_DIMS:
            sizes = attention_sizes(dtype, head_dim, capability)
            size += sum(sizes)
            count += len(sizes)
    assert size > 0
    print(f"{count} kernels compiled")


if __name__ == "__main__":
    main()
