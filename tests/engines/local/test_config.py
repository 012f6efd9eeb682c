"""Which checkpoints run: null keys mean nothing, keys that change the mathematics are named, true shapes have true sizes."""

import json
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.engines.local.config import read_params
from pixtral_cli.errors import ModelError
from tests.engines.local.checkpoints import Sizes

NULLS = ("moe", "q_lora_rank", "kv_lora_rank", "qk_rope_head_dim", "v_head_dim", "lora", "use_biases", "unheard_of")
VISION = {
    "image_token_id": 10, "image_break_token_id": 12, "image_end_token_id": 13, "intermediate_size": 4096,
    "num_hidden_layers": 24, "num_attention_heads": 16, "mm_projector_id": "patch_merge", "spatial_merge_size": 2,
    "hidden_size": 1024, "num_channels": 3, "image_size": 1540, "max_image_size": 1540, "patch_size": 14,
    "rope_theta": 1e4, "add_pre_mm_projector_layer_norm": True, "adapter_bias": False,
}  # fmt: skip
MINISTRAL = {
    "dim": 3072, "n_layers": 26, "head_dim": 128, "hidden_dim": 9216, "n_heads": 32, "n_kv_heads": 8, "norm_eps": 1e-5,
    "rope_theta": 1e6, "vocab_size": 131_072, "tied_embeddings": True, "max_position_embeddings": 262_144,
    "q_lora_rank": None, "kv_lora_rank": None, "moe": None, "vision_encoder": VISION,
    "quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"},
    "yarn": {"original_max_position_embeddings": 16_384, "factor": 16, "apply_scale": False, "beta": 32, "alpha": 1},
    "llama_4_scaling": {"original_max_position_embeddings": 16_384, "beta": 0.1},
}  # fmt: skip


def written(folder: Path, params: dict[str, Any]) -> Path:
    (folder / "params.json").write_text(json.dumps(params))
    return folder


@pytest.mark.parametrize("empty", [None, False, {}, [], 0, ""])
def test_keys_that_are_null_mean_nothing(tmp_path: Path, empty: Any) -> None:
    params = Sizes().params
    expected = read_params(written(tmp_path, params), "tiny")
    assert read_params(written(tmp_path, {**params, **dict.fromkeys(NULLS, empty)}), "tiny") == expected


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"moe": {"num_experts": 8}}, "'moe'"),
        ({"kv_lora_rank": 512}, "'kv_lora_rank'"),
        ({"unheard_of": 1}, "'unheard_of'"),
        ({"another": "x", "unheard_of": [1]}, "'another', 'unheard_of'"),
        ({"causal": False}, "'causal'"),
        ({"use_biases": True}, "'use_biases'"),
        ({"multimodal": {"whisper_model_args": {"dim": 1}}}, "'multimodal'"),
        ({"quantization": {"qformat_weight": "nvfp4"}}, "'nvfp4' weights"),
        ({"yarn": {"original_max_position_embeddings": 64, "factor": 4, "gamma": 2}}, "'gamma'"),
        ({"yarn": {"factor": 4}}, "lacks 'original_max_position_embeddings'"),
        ({"yarn": {"original_max_position_embeddings": 64, "factor": 0.5}}, "'factor' 0.5 is less than 1"),
        ({"yarn": {"original_max_position_embeddings": 64, "factor": 0}}, "'factor' is '0'"),
        ({"yarn": "yes"}, "'yarn' is not an object"),
        ({"llama_4_scaling": {"original_max_position_embeddings": 64, "beta": -1}}, "'beta' is '-1'"),
        ({"tied_embeddings": "yes"}, "'tied_embeddings' is 'yes'"),
    ],
)
def test_what_changes_the_mathematics_is_named(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_params(written(tmp_path, {**Sizes().params, **change}), "tiny")
    assert named in caught.value.message
    assert "\n" not in caught.value.message


def test_an_unknown_key_of_the_vision_encoder_is_named(tmp_path: Path) -> None:
    params = Sizes().params
    params["vision_encoder"]["window_attention"] = 7
    with pytest.raises(ModelError, match="'window_attention'"):
        read_params(written(tmp_path, params), "tiny")


@pytest.mark.parametrize(
    ("change", "billions"),
    [
        ({}, 3.85),
        ({"dim": 4096, "n_layers": 34, "hidden_dim": 14336, "tied_embeddings": False}, 8.9),
        ({"dim": 5120, "n_layers": 40, "hidden_dim": 16384, "tied_embeddings": False}, 13.9),
        ({"dim": 5120, "n_layers": 40, "hidden_dim": 32768, "tied_embeddings": False}, 24.0),
    ],
    ids=["ministral-3b", "ministral-8b", "ministral-14b", "mistral-small-3.1"],
)
def test_true_shapes_have_the_published_number_of_parameters(
    tmp_path: Path, change: dict[str, Any], billions: float
) -> None:
    from pixtral_cli.engines.local.model.upstream import empty_transformer
    from pixtral_cli.engines.local.weights.loader import transformer_arguments

    params = read_params(written(tmp_path, {**MINISTRAL, **change}), "true")
    assert params.context_window == 262_144
    state = empty_transformer(transformer_arguments(params)).state_dict()
    count = sum(tensor.numel() for key, tensor in state.items() if key != "output.weight" or not params.tied_embeddings)
    assert count / 1e9 == pytest.approx(billions, rel=0.02)
