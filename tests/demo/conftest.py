"""A small world for the demo's tests: a tokenizer cut once, a tiny model, an exported folder of it."""

from pathlib import Path

import pytest
import torch

from demo import tokenizer as tokens
from demo.export import export
from demo.twin import Shape, Twin

TINY = Shape(
    vision_dim=32, vision_layers=2, vision_heads=2, vision_hidden=48, dim=32, layers=2, heads=4, kv_heads=2, hidden=48
)


@pytest.fixture(scope="session")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer cut from a thin corpus."""
    folder = tmp_path_factory.mktemp("cut")
    tokens.cut(folder, samples=12)
    return folder


@pytest.fixture(scope="session")
def tokenizer(cut: Path) -> tokens.Tokenizer:
    return tokens.Tokenizer(cut)


@pytest.fixture
def twin(tokenizer: tokens.Tokenizer) -> Twin:
    """Random, with attention sharp and loud enough that a wrong rotation changes what is said."""
    torch.manual_seed(7)
    model = Twin(TINY, tokenizer.size).eval()
    for name, parameter in model.named_parameters():
        parameter.data.mul_(4.0 if name.endswith(("wq.weight", "wk.weight", "wo.weight")) else 1.0)
    return model


@pytest.fixture
def exported(twin: Twin, cut: Path, tmp_path: Path) -> Path:
    rounded = {name: weight.bfloat16().float() for name, weight in twin.state_dict().items()}
    twin.load_state_dict(rounded)
    export(twin.state_dict(), TINY, cut / "tekken.json", tmp_path)
    return tmp_path
