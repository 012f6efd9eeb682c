"""The checkpoints that are measured are what they stand for."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from benchmarks import checkpoints
from benchmarks.checkpoints import WEIGHTS, described, shape, write_large
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.config import read_params
from pixtral_cli.engines.local.engine import LocalEngine
from tests.engines.local.checkpoints import Sizes, build, image


@pytest.mark.parametrize("sizes", [Sizes(), Sizes(merge=2, tied=True)], ids=["pixtral", "ministral"])
def test_one_that_is_written_piece_by_piece_has_the_tensors_of_any_other_and_answers(
    tmp_path: Path, sizes: Sizes
) -> None:
    large, small = write_large(sizes, tmp_path / "large"), build(tmp_path / "small", sizes)
    shapes = []
    for folder in (large, small):
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            shapes.append({key: file.get_slice(key).get_shape() for key in file.keys()})  # noqa: SIM118
    assert shapes[0] == shapes[1]
    *_, last = LocalEngine(large, device="cpu", dtype="fp32").stream(
        [user("What is it?", [image(64, 48)])], Sampling(temperature=0.0, max_tokens=4)
    )
    assert last.usage
    assert last.usage.completion_tokens


def test_pixtral_12b_has_its_own_shape() -> None:
    sizes = checkpoints.RANDOM["pixtral-12b"].params
    assert (sizes["dim"], sizes["n_layers"], sizes["hidden_dim"], sizes["vocab_size"]) == (5120, 40, 14336, 131072)
    assert (sizes["vision_encoder"]["hidden_size"], sizes["vision_encoder"]["num_hidden_layers"]) == (1024, 24)


def test_ministral_3b_has_its_own_shape() -> None:
    """The vendor's count for the decoder is 3.4 billion, the embeddings counted once."""
    sizes = checkpoints.RANDOM["ministral-3b"]
    layer = sizes.dim * (2 * sizes.heads + 2 * sizes.kv_heads) * sizes.head_dim + 3 * sizes.dim * sizes.hidden
    assert round((sizes.layers * layer + sizes.vocab * sizes.dim) / 1e9, 1) == 3.4
    vision = sizes.params["vision_encoder"]
    assert (sizes.tied, vision["spatial_merge_size"], vision["patch_size"], vision["num_hidden_layers"]) == (
        True,
        2,
        14,
        24,
    )


def test_operations_count_products_and_attention(tmp_path: Path) -> None:
    found = shape(build(tmp_path / "tiny", Sizes()))
    layer = 64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 96
    assert found.weights == 2 * layer
    assert found.kv_bytes == 2 * 2 * 2 * 16 * 2
    assert found.prefill(10) == 2 * 2 * layer * 10 + 2 * 100 * 4 * 16 * 2


def test_the_converter_gets_what_it_asks_for_and_the_checkpoint_stays_as_it_is(tmp_path: Path) -> None:
    folder = build(tmp_path / "tiny", Sizes())
    before = (folder / "params.json").read_bytes()
    params = json.loads((described(folder, folder / "described") / "params.json").read_text())
    assert params["max_seq_len"] == 128_000
    assert params["vision_encoder"]["image_break_token_id"] == 12
    assert (folder / "params.json").read_bytes() == before
    assert read_params(folder / "described", "").context_window == 128_000
