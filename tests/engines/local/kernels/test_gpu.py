"""The GPU's kernels where no GPU is: in Triton's interpreter, through its compiler; and what runs where they do not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pixtral_cli.engines.local.kernels import gpu
from pixtral_cli.engines.local.kernels.formats import INT4, INT8
from pixtral_cli.engines.local.weights.quantized_linear import QuantizedLinear, pack, unpack

ROOT = Path(__file__).parents[4]
TRITON = ROOT / ".venv-triton"


def run(script: str, tmp_path: Path, **environment: str) -> str:
    assert (TRITON / "triton").is_dir(), "make .venv-triton/ready installs Triton for this test"
    paths = {"PYTHONPATH": f"{TRITON}{os.pathsep}{ROOT}", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", f"tests.engines.local.kernels.{script}"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **paths, **environment}, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_the_kernels_compute_what_torch_does(tmp_path: Path) -> None:
    assert run("triton_interpreter", tmp_path).splitlines() == [
        "64 products, 73 dequantized matrices",
        "42 sequences attended, 16 positions decoded",
    ]


@pytest.mark.slow
def test_the_kernels_compile_for_gpus_from_ampere_to_blackwell(tmp_path: Path) -> None:
    assert run("triton_compile", tmp_path).strip() == "100 kernels compiled"


def test_without_triton_torch_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(gpu, "multiply", lambda *_: (_ for _ in ()).throw(ImportError("No module named 'triton'")))
    monkeypatch.setattr(torch, "ones", lambda *size, device=None, **kinds: torch.full(size, 1, **kinds))
    gpu.runs_on.cache_clear()
    assert not gpu.runs_on(0)
    gpu.runs_on.cache_clear()


def test_an_older_gpu_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (7, 5))
    gpu.runs_on.cache_clear()
    assert not gpu.runs_on(0)
    gpu.runs_on.cache_clear()


@pytest.mark.parametrize("bits", [8, 4])
def test_a_few_positions_go_to_the_kernel_as_they_are_stored(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer hands on its packed bytes: no matrix is dequantized for a decode step."""
    seen: list[tuple[torch.Tensor, torch.Tensor | None, int]] = []

    def multiply(states: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, format: int) -> torch.Tensor:
        seen.append((weight, scale, format))
        return states @ unpack(weight, scale, states.dtype)[:, :100].T

    monkeypatch.setattr(gpu, "supports_gemv", lambda states: len(states) <= gpu.MAX_ROWS)
    monkeypatch.setattr(gpu, "multiply", multiply)
    layer = QuantizedLinear(*pack(torch.randn(40, 100), bits), 100)
    states = torch.randn(3, 100).half()  # a dtype the CPU kernel does not take
    assert layer(states).shape == (3, 40)
    assert [(each[0] is layer.weight, each[1] is layer.scale, each[2]) for each in seen] == [
        (True, True, INT8 if bits == 8 else INT4)
    ]
    assert layer(torch.randn(33, 100).half()).shape == (33, 40)
    assert len(seen) == 1


def test_attention_that_computes_something_else_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = (0, torch.bfloat16, 4, 2, 32)
    zeros, tensor = torch.zeros, torch.tensor
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(torch, "zeros", lambda *size, device=None, **kinds: zeros(*size, **kinds))
    monkeypatch.setattr(torch, "tensor", lambda values, device=None: tensor(values))
    for answer, runs in ((1.0, True), (1.5, False), (float("nan"), False)):
        monkeypatch.setattr(gpu, "attend", lambda query, *_, answer=answer: torch.full_like(query, answer))
        gpu.attends_on.cache_clear()
        assert gpu.attends_on(*kind) == runs
    gpu.attends_on.cache_clear()


@pytest.mark.parametrize(
    ("device", "dtype", "heads", "head_dim"),
    [("cpu", torch.bfloat16, 32, 128), ("cuda:0", torch.float32, 32, 128), ("cuda:0", torch.float16, 256, 128), ("cuda:0", torch.float16, 32, 160)],
)  # fmt: skip
def test_attention_of_another_kind_is_torchs(device: str, dtype: torch.dtype, heads: int, head_dim: int) -> None:
    assert not gpu.supports_decode_attention(torch.device(device), dtype, heads, 8, head_dim)
