"""What `auto` chooses, the better scale of a group, a file that ends while it is read."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.weights import checkpoint, quantized_linear, tensors
from pixtral_cli.engines.local.weights.quantize import choose_scheme
from pixtral_cli.errors import ModelError
from tests.engines.local.checkpoints import build


def test_auto_leaves_room_for_the_question_as_well_as_for_the_weights() -> None:
    sizes = {"none": 100, "8bit": 50, "4bit": 25}
    assert choose_scheme("auto", sizes, 130, 60, 5) == "8bit"
    assert choose_scheme("auto", sizes, 130, 5, 60) == "8bit"
    assert choose_scheme("auto", sizes, 130, 5, 5) == "none"
    assert choose_scheme("auto", sizes, 80, 60, 5) == "4bit"


def test_of_the_scales_tried_for_a_group_the_better_one_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(1))

    def error() -> torch.Tensor:
        unpacked = quantized_linear.unpack(*quantized_linear.pack(weight, 4), torch.float32)
        return (unpacked - weight).square().view(64, -1, 64).sum(2)

    both = error()
    alone = []
    for start in quantized_linear.SCALE_STARTS:
        monkeypatch.setattr(quantized_linear, "SCALE_STARTS", (start,))
        alone.append(error())
    assert (both <= torch.minimum(*alone) + 1e-3).all()
    assert not torch.equal(*alone)


def test_weights_that_end_while_they_are_read_are_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_header = checkpoint.read_header

    def then_cut(path: Path, name: str) -> Any:
        header = read_header(path, name)
        os.truncate(path, path.stat().st_size - 10_000)
        return header

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("unable to mmap")

    monkeypatch.setattr(checkpoint, "read_header", then_cut)
    monkeypatch.setattr(tensors, "safe_open", refuse)
    with pytest.raises(ModelError, match="damaged"):
        LocalEngine(build(tmp_path), device="cpu", dtype="fp32").load()
