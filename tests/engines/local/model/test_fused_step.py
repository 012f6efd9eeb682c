"""A decoder's step in one call of our kernel computes what torch computes layer by layer, in every thread."""

import multiprocessing
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.kernels import cpu
from pixtral_cli.engines.local.model import attention
from pixtral_cli.engines.local.model.decoder import Decoder, Span
from tests.engines.local.checkpoints import Sizes, build

CPU = torch.device("cpu")
kernel = pytest.mark.skipif(
    not cpu.kernel_supports(CPU, torch.float32),
    reason="this processor has no such kernel",
)
SIZES = [
    Sizes(), Sizes(dim=96, heads=6, kv_heads=1, head_dim=8, hidden=160), Sizes(dim=80, heads=10, kv_heads=2, head_dim=18),
    Sizes(dim=128, layers=3, heads=4, kv_heads=4, head_dim=160, hidden=200), Sizes(heads=12, kv_heads=1),
    Sizes(heads=6, kv_heads=3, extra={"llama_4_scaling": {"original_max_position_embeddings": 64, "beta": 0.5}}),
]  # fmt: skip


def after(decoder: Decoder, caches: Sequence[Any], counts: Sequence[int]) -> torch.Tensor:
    """The states of so many more positions of each sequence."""
    spans = [Span(cache, count, separate=True) for cache, count in zip(caches, counts, strict=True)]
    return decoder.forward(decoder.embed([20 + 7 * at for at in range(sum(counts))]), spans)


def written(runner: Any, decoder: Decoder, length: int) -> Any:
    cache = runner._new_cache()
    decoder.forward(decoder.embed([20 + at % 90 for at in range(length)]), [Span(cache, length)])
    return cache


@kernel
@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: f"{sizes.heads} heads of {sizes.head_dim}")
@pytest.mark.parametrize(("dtype", "most"), [("fp32", 1e-5), ("bf16", 0.05)])
@pytest.mark.parametrize("scheme", ["none", "8bit", "4bit"])
def test_a_step_computes_what_the_layers_in_torch_do(
    tmp_path: Path,
    sizes: Sizes,
    dtype: str,
    most: float,
    scheme: str,
    instruction_set: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of sequences shorter and longer than a block of keys, and several positions at once; keys and values too."""
    runner = LocalEngine(build(tmp_path, sizes), device="cpu", dtype=dtype, quantize=scheme).load()
    fast, slow = runner._decoder, Decoder(runner.weights, runner._params)
    assert fast._fused
    slow._fused = None
    monkeypatch.setattr(attention, "supports_attention", lambda *_: False)
    if scheme != "none" and dtype == "fp32":
        most *= 100  # whole numbers of 16 bits tell of less
    lengths, counts = (3, 300, 128), (1, 4, 27)
    found, expected = [
        ([written(runner, slow, length) for length in lengths], decoder) for decoder in (fast, slow)
    ]  # the same past
    states, torchs = (after(decoder, caches, counts) for caches, decoder in (found, expected))
    scale = torchs.float().abs().mean()
    torch.testing.assert_close(states.float(), torchs.float(), rtol=most, atol=float(most * scale))
    for one, other in zip(found[0], expected[0], strict=True):
        assert one.length == other.length
        for ours, theirs in zip(one._layers, other._layers, strict=True):
            kept, torch_kept = ours[:, :, : one.length].float(), theirs[:, :, : one.length].float()
            torch.testing.assert_close(kept, torch_kept, rtol=most, atol=most * 2)


@kernel
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_scaled_positions_are_bit_for_bit_the_same_however_they_share_a_step(tmp_path: Path, dtype: str) -> None:
    """Across the first scaled position: one by one, several at once, and beside another sequence."""
    scaling = {"original_max_position_embeddings": 16, "beta": 0.3}
    runner = LocalEngine(build(tmp_path, Sizes(extra={"llama_4_scaling": scaling})), device="cpu", dtype=dtype).load()
    decoder = runner._decoder
    assert decoder.uses_fused_step
    embedded = decoder.embed([20 + 7 * at for at in range(12)])

    def states(parts: Sequence[int]) -> torch.Tensor:
        cache = written(runner, decoder, 10)
        steps = torch.split(embedded, list(parts))
        return torch.cat([decoder.forward(step, [Span(cache, len(step), separate=True)]) for step in steps])

    alone = states([1] * 12)
    for parts in ([12], [5, 7], [6, 1, 5]):
        assert torch.equal(states(parts), alone), parts
    caches = written(runner, decoder, 40), written(runner, decoder, 10)
    spans = [Span(cache, 12, separate=True) for cache in caches]
    assert torch.equal(decoder.forward(torch.cat([embedded, embedded]), spans)[12:], alone)


@kernel
def test_threads_that_compute_at_the_same_time_do_not_disturb_each_other() -> None:
    layer = torch.nn.Linear(512, 4096, bias=False).requires_grad_(False)
    states = torch.randn(8, 3, 512)
    alone = [cpu.linear(layer, each, 1) for each in states]
    wrong: list[int] = []

    def work(index: int) -> None:
        wrong.extend(index for _ in range(200) if not torch.equal(cpu.linear(layer, states[index], 3), alone[index]))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def _in_a_fork(layer: Any, states: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.equal(cpu.linear(layer, states, 2), expected)


@kernel
@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_makes_threads_of_its_own() -> None:
    layer = torch.nn.Linear(512, 4096, bias=False).requires_grad_(False)
    states = torch.randn(2, 512)
    expected = cpu.linear(layer, states, 2)
    child = multiprocessing.get_context("fork").Process(target=_in_a_fork, args=(layer, states, expected))
    child.start()
    child.join(60)
    assert child.exitcode == 0


@kernel
def test_memory_that_runs_out_in_the_kernel_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    full = cpu.Kernel(SimpleNamespace(pixtral_linear=lambda *given: 1), "avx2-fma", "")
    monkeypatch.setattr(cpu, "kernel", lambda: full)
    weight = torch.randn(4, 8)
    with pytest.raises(MemoryError):
        cpu.multiply(cpu.matrix(weight, 8), torch.randn(1, 8), 1)
