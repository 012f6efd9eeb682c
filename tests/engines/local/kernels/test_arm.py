"""The CPU kernel on Arm: cross-compiled, and run by qemu on recorded calls. Needs gcc-aarch64-linux-gnu and qemu-user."""

import math
import random
import struct
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pixtral_cli.engines.local.kernels import cpu
from tests.engines.local.kernels.test_instruction_sets import DTYPES, FORMATS, Weights, weights

SOURCES = Path(cpu.__file__).parent
TOOLS = ("aarch64-linux-gnu-gcc", "qemu-aarch64")
END = -1

pytestmark = pytest.mark.slow  # `make test-all` installs the tools: without them this fails


class Recording:
    """Calls of the kernel with what they must compute, as replay.c reads them."""

    def __init__(self) -> None:
        self.data = bytearray()

    def numbers(self, *values: int) -> None:
        self.data += struct.pack(f"<{len(values)}q", *values)

    def allowed(self, error: float) -> None:
        self.data += struct.pack("<d", error)

    def tensors(self, *tensors: Tensor | None) -> None:
        for tensor in tensors:
            content = b"" if tensor is None else tensor.contiguous().view(torch.uint8).numpy().tobytes()
            self.numbers(len(content))
            self.data += content

    def linear(self, matrix: Weights, states: Tensor) -> None:
        count, width = states.shape
        self.numbers(0, matrix.format, states.itemsize, width, len(matrix.stored), count)
        size = float(matrix.exact.square().mean().sqrt()) * math.sqrt(width)
        self.allowed((2**-7 if states.dtype == torch.bfloat16 else 3e-4) * max(1.0, 4 * size))
        self.tensors(matrix.stored, matrix.scale, states, (states.double() @ matrix.exact.T).float())

    def attention(self, query: Tensor, key: Tensor, value: Tensor, past: int) -> None:
        count, n_heads, head_dim = query.shape
        self.numbers(1, n_heads, len(key), head_dim, query.itemsize, count, past)
        self.allowed(2**-6 if query.dtype == torch.bfloat16 else 1e-5)
        self.tensors(query, key, value, exact_attention(query, key, value, past).float())


def exact_attention(query: Tensor, key: Tensor, value: Tensor, past: int) -> Tensor:
    shared = query.shape[1] // len(key)
    key, value = (each.double().repeat_interleave(shared, 0) for each in (key, value))
    scores = torch.einsum("thd,hsd->hts", query.double(), key) / math.sqrt(query.shape[-1])
    visible = torch.arange(key.shape[1]) <= past + torch.arange(len(query))[:, None]
    return torch.einsum("hts,hsd->thd", scores.masked_fill(~visible, -math.inf).softmax(-1), value)


def record_products(recording: Recording) -> int:
    draw, choose, calls = torch.Generator().manual_seed(1), random.Random(2), 0
    for format in FORMATS.values():
        for dtype in DTYPES:
            for width in (1, 30, 100, 192, 520):
                for count in (1, 2, 3, 4, 7, 32, 33, 50):
                    matrix = weights(choose.randrange(1, 40), width, format, dtype, draw)
                    recording.linear(matrix, torch.randn(count, width, generator=draw).to(dtype))
                    calls += 1
    return calls


def record_attention(recording: Recording) -> int:
    draw, calls = torch.Generator().manual_seed(3), 0
    for dtype in DTYPES:
        for count, past, groups, shared, head in (
            (1, 0, 1, 1, 2),
            (1, 90, 2, 3, 18),
            (40, 130, 2, 2, 64),
            (5, 63, 1, 4, 160),
        ):
            query = torch.randn(count, groups * shared, head, generator=draw).to(dtype)
            key, value = torch.randn(2, groups, past + count, head, generator=draw).to(dtype)
            recording.attention(query, key, value, past)
            calls += 1
    return calls


def record_steps(recording: Recording) -> int:
    """Two layers, of which the reference is the definition in float64, rounded nowhere."""
    calls = 0
    for dtype, format in [*((dtype, format) for dtype in DTYPES for format in FORMATS.values())]:
        record_step(recording, dtype, format, torch.Generator().manual_seed(4 + calls))
        calls += 1
    return calls


def record_step(recording: Recording, dtype: torch.dtype, format: int, draw: torch.Generator) -> None:
    dim, hidden, heads, groups, head, past, count, capacity = 96, 200, 6, 2, 18, 70, 5, 80
    shapes = [(heads * head, dim), (groups * head, dim), (groups * head, dim), (dim, heads * head), (hidden, dim), (hidden, dim), (dim, hidden)]  # fmt: skip
    recording.numbers(2, 2, dim, hidden, heads, groups, head, dtype.itemsize, past, count, capacity, format)
    recording.allowed(0.15 if dtype == torch.bfloat16 else 2e-3)
    angles = torch.rand(count, head // 2, generator=draw) * 6
    rotations = torch.stack([angles.cos(), angles.sin()], -1)
    scales = torch.tensor([1, 1, 1.07, 1.07, 1.11])  # of queries, as by Llama 4's scaling
    x = torch.randn(count, dim, generator=draw).to(dtype)
    exact = x.double()
    for _ in range(2):
        norms = [(1 + 0.1 * torch.randn(dim, generator=draw)).to(dtype) for _ in range(2)]
        matrices = [weights(*shape, format, dtype, draw) for shape in shapes]
        for matrix in matrices:  # to the size of what it multiplies
            scale = 0.7 / float(matrix.exact.square().mean().sqrt()) / math.sqrt(matrix.exact.shape[1])
            if matrix.scale is None:
                matrix.stored = (matrix.stored.float() * scale).to(dtype)
                matrix.exact = matrix.stored.double()
            else:
                before = matrix.scale.double()
                matrix.scale = (matrix.scale.float() * scale).to(matrix.scale.dtype)
                factor = matrix.scale.double() / before
                width = matrix.exact.shape[1]
                by_row = factor[:, None] if factor.dim() == 1 and len(factor) > 1 else factor
                by_number = by_row.repeat_interleave(64, 1)[:, :width] if factor.dim() == 2 else by_row
                matrix.exact = matrix.exact * by_number
        cache = torch.randn(2, groups, capacity, head, generator=draw).to(dtype)
        recording.tensors(*norms)
        for matrix in matrices:
            recording.numbers(matrix.exact.shape[1], len(matrix.stored))
            recording.tensors(matrix.stored, matrix.scale)
        recording.tensors(cache)
        exact = exact_layer(
            exact,
            norms,
            [matrix.exact for matrix in matrices],
            cache.double(),
            rotations.double(),
            past,
            scales.double(),
        )
    recording.tensors(x, rotations, scales, exact.float())


def exact_layer(
    x: Tensor,
    norms: list[Tensor],
    matrices: list[Tensor],
    cache: Tensor,
    rotations: Tensor,
    past: int,
    scales: Tensor,
) -> Tensor:
    wq, wk, wv, wo, gate, up, down = matrices
    _, groups, _, head = cache.shape
    count = len(x)

    def norm(states: Tensor, weight: Tensor) -> Tensor:
        return states / (states.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight.double()

    def rotate(states: Tensor) -> Tensor:
        pairs = torch.view_as_complex(states.reshape(count, -1, head // 2, 2).contiguous())
        return torch.view_as_real(pairs * torch.view_as_complex(rotations)[:, None]).flatten(-2)

    normed = norm(x, norms[0])
    query, key = rotate(normed @ wq.T) * scales[:, None, None], rotate(normed @ wk.T)
    keys = torch.cat([cache[0, :, :past], key.transpose(0, 1)], 1)
    values = torch.cat([cache[1, :, :past], (normed @ wv.T).view(count, groups, head).transpose(0, 1)], 1)
    x = x + exact_attention(query, keys, values, past).flatten(1) @ wo.T
    normed = norm(x, norms[1])
    return x + (torch.nn.functional.silu(normed @ gate.T) * (normed @ up.T)) @ down.T


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """replay.c and the kernel, for any 64-bit Arm processor."""
    program = tmp_path_factory.mktemp("arm") / "replay"
    sources = [*sorted(SOURCES.glob("*.c")), Path(__file__).with_name("replay.c")]
    options = ["-O3", "-Wall", "-Wextra", "-Werror", "-static", "-pthread", f"-I{SOURCES}"]
    subprocess.run([TOOLS[0], *options, *sources, "-lm", "-o", program], check=True)
    return program


def written(folder: Path, recording: Recording) -> Path:
    recording.numbers(END)
    file = folder / "calls"
    file.write_bytes(recording.data)
    return file


@pytest.mark.parametrize(
    ("processor", "sets"),
    [("max", ["neon-bf16", "neon-dotprod", "neon-base"]), ("neoverse-n1", ["neon-dotprod", "neon-base"]), ("cortex-a72", ["neon-base"])],
)  # fmt: skip
def test_every_set_of_an_arm_processor_computes_what_was_recorded(
    tmp_path: Path, program: Path, processor: str, sets: list[str]
) -> None:
    recording = Recording()
    calls = record_products(recording) + record_attention(recording) + record_steps(recording)
    command = [TOOLS[1], "-cpu", processor, str(program), str(written(tmp_path, recording))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500)
    assert (done.returncode, done.stdout.splitlines()) == (0, [f"{name} {calls}" for name in sets]), done.stdout
