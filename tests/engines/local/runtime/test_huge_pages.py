"""Weights on the CPU are asked to be kept in huge pages."""

from pathlib import Path

import pytest
import torch

from pixtral_cli.engines.local.engine import LocalEngine
from tests.engines.local.checkpoints import Sizes, build

LARGE = 1 << 22  # bytes
SMAPS = Path("/proc/self/smaps")
linux = pytest.mark.skipif(not SMAPS.exists() or "VmFlags:" not in SMAPS.read_text(), reason="Linux's /proc")
HAVE_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage").exists()


def flags(address: int) -> list[str]:
    """The kernel's flags of the mapping with this address."""
    inside = False
    for line in SMAPS.read_text().splitlines():
        first = line.split()[0]
        if "-" in first and not first.endswith(":"):
            start, stop = (int(part, 16) for part in first.split("-"))
            inside = start <= address < stop
        elif inside and first == "VmFlags:":
            return line.split()[1:]
    raise AssertionError("not mapped")


@linux
def test_weights_in_a_file_are_advised_and_the_embedding_is_not(tmp_path: Path) -> None:
    sizes = Sizes(dim=512, hidden=2560, layers=1, heads=8, head_dim=64, vocab=2560)
    engine = LocalEngine(build(tmp_path / "model", sizes), name="tiny", device="cpu", quantize="none")
    state = engine.load().weights.model.state_dict()
    large = {name for name, tensor in state.items() if tensor.nbytes >= LARGE}
    assert large > {"tok_embeddings.weight", "output.weight", "layers.0.feed_forward.w1.weight"}
    advised = {name for name in large if "hg" in flags(state[name].data_ptr() + state[name].nbytes // 2)}
    assert advised == (large - {"tok_embeddings.weight"} if HAVE_HUGE_PAGES else set())
    engine.close()


@linux
def test_quantized_weights_in_their_cache_are_advised(tmp_path: Path) -> None:
    sizes = Sizes(dim=512, hidden=2560, layers=4, heads=8, head_dim=64)
    folder = build(tmp_path / "model", sizes)
    for _ in ("written", "read again"):
        engine = LocalEngine(folder, name="tiny", device="cpu", quantize="8bit", cache=tmp_path / "cache")
        state = engine.load().weights.model.state_dict()
        advised = {name for name, tensor in state.items() if "hg" in flags(tensor.data_ptr() + tensor.nbytes // 2)}
        packed = {name for name, tensor in state.items() if tensor.dtype == torch.int8}
        assert packed
        assert advised >= packed if HAVE_HUGE_PAGES else not advised
        engine.close()
