"""config.json of Hugging Face's format: what becomes of its keys, and that what no layer represents is refused by name."""

from typing import Any

import pytest

from pixtral_cli.errors import ModelError
from pixtral_cli.models.transformers_config import to_params

TEXT: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 2, "head_dim": 16, "intermediate_size": 128, "num_attention_heads": 4,
    "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "vocab_size": 1000, "max_position_embeddings": 1_024_000,
    "rope_theta": 1e6, "model_type": "mistral", "sliding_window": None,
}  # fmt: skip
VISION: dict[str, Any] = {
    "hidden_act": "silu",
    "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "num_attention_heads": 2, "image_size": 1024,
    "patch_size": 16, "rope_theta": 1e4, "model_type": "pixtral", "num_channels": 3,
}  # fmt: skip


def params(text: dict[str, Any] | None = None, **config: Any) -> dict[str, Any]:
    features = {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"}
    whole = {"model_type": "llava", "text_config": TEXT | (text or {}), "vision_config": VISION, **features}
    return to_params(whole | config, "m")


def rope(**values: Any) -> dict[str, Any]:
    return {"rope_parameters": values}


def test_pixtrals_window_is_no_longer_than_the_models() -> None:
    assert params()["max_position_embeddings"] == 131_072
    assert params({"max_position_embeddings": 131_072})["max_position_embeddings"] == 131_072
    assert params({"max_position_embeddings": 4096})["max_position_embeddings"] == 4096
    assert params(model_type="mistral3")["max_position_embeddings"] == 1_024_000


@pytest.mark.parametrize(
    "quantization",
    [
        {},
        {"quant_method": "fp8"},
        {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float"}}}},
        {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 64}}}},
        {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 128}}}},
        {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8, "symmetric": True}}}},
        {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"actorder": "static"}}}},
        {"quant_method": "compressed-tensors", "sparsity_config": {"format": "dense"}, "format": "pack-quantized"},
    ],
)
def test_quantization_that_the_layers_represent_is_taken(quantization: dict[str, Any]) -> None:
    assert params(quantization_config=quantization)["dim"] == 64


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"quant_method": "awq"}, "quantization by 'awq'"),
        ({"weight_block_size": [128, 128]}, "'weight_block_size'"),
        ({"transform_config": {"a": 1}}, "'transform_config'"),
        ({"format": "marlin-24"}, "sparse weights"),
        ({"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparse weights"),
        ({"config_groups": {"g": {"weights": {"num_bits": 2}}}}, "2-bit weights of type 'int'"),
        ({"config_groups": {"g": {"weights": {"num_bits": 4, "type": "float"}}}}, "4-bit weights of type 'float'"),
        ({"config_groups": {"g": {"weights": {"symmetric": False}}}}, "zero points"),
        ({"config_groups": {"g": {"weights": {"actorder": "group"}}}}, "'actorder' 'group'"),
        ({"config_groups": {"g": {"weights": {"num_bits": 4, "group_size": 32}}}}, "groups of 32 for 4 bits"),
        ({"config_groups": {"g": {"weights": {"num_bits": 8, "group_size": 64}}}}, "groups of 64 for 8 bits"),
    ],
)
def test_quantization_that_no_layer_represents_is_refused_by_name(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        params(quantization_config={"quant_method": "compressed-tensors"} | change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (rope(rope_type="linear"), "'rope_type' 'linear'"),
        ({"rope_scaling": {"type": "dynamic"}}, "'rope_type' 'dynamic'"),
        (rope(rope_type="yarn", factor=4, truncate=False), "'truncate' or 'partial_rotary_factor'"),
        (rope(rope_type="yarn", factor=4, partial_rotary_factor=0.5), "'truncate' or 'partial_rotary_factor'"),
        (rope(rope_type="yarn", factor=4, mscale=1.0, mscale_all_dim=0.7), "different 'mscale' and 'mscale_all_dim'"),
    ],
)
def test_positions_that_the_engine_does_not_compute_are_refused_by_name(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        params(change)


def test_yarns_keys_are_those_of_params_json() -> None:
    yarn = rope(rope_type="yarn", rope_theta=5e5, factor=4, original_max_position_embeddings=4096)
    found = params(yarn, model_type="mistral3")
    assert found["rope_theta"] == 5e5
    assert found["yarn"] == {
        "original_max_position_embeddings": 4096, "factor": 4.0, "beta": 32.0, "alpha": 1.0, "apply_scale": True,
    }  # fmt: skip
    assert "yarn" not in params()
    assert params()["rope_theta"] == 1e6


@pytest.mark.parametrize(
    ("more", "scale"),
    [
        ({"attention_factor": 1.5}, {"attention_factor": 1.5}),
        ({"mscale": 1.0, "mscale_all_dim": 1.0}, {"apply_scale": False}),
        ({"mscale": 1.0}, {"apply_scale": True}),
        ({"beta_fast": 16, "beta_slow": 2}, {"beta": 16.0, "alpha": 2.0, "apply_scale": True}),
    ],
)
def test_yarns_magnitude_and_band_are_taken_over(more: dict[str, Any], scale: dict[str, Any]) -> None:
    found = params(rope(rope_type="yarn", factor=4, original_max_position_embeddings=4096, **more))["yarn"]
    assert {name: found[name] for name in scale} == scale


def test_without_a_factor_it_is_the_window_by_the_original_one() -> None:
    text = {"max_position_embeddings": 16_384, **rope(rope_type="yarn", original_max_position_embeddings=4096)}
    assert params(text)["yarn"]["factor"] == 4.0


def test_attention_that_is_scaled_by_position_keeps_its_factor() -> None:
    scaled = rope(rope_type="default", llama_4_scaling_beta=0.1, original_max_position_embeddings=8192)
    assert params(scaled)["llama_4_scaling"] == {"original_max_position_embeddings": 8192, "beta": 0.1}


@pytest.mark.parametrize(
    ("text", "config", "says"),
    [
        ({"sliding_window": 4096}, {}, "'sliding_window'"),
        ({"hidden_act": "gelu"}, {}, "'hidden_act' 'gelu'"),
        ({"attention_bias": True}, {}, "'attention_bias' 'True'"),
        ({"mlp_bias": True}, {}, "'mlp_bias' 'True'"),
        ({"model_type": "llama"}, {}, "a model of type 'llama'"),
        ({}, {"model_type": "qwen"}, "a model of type 'qwen'"),
        ({}, {"vision_feature_layer": -2}, "'vision_feature_layer' '-2'"),
        ({}, {"vision_feature_select_strategy": "default"}, "'vision_feature_select_strategy' 'default'"),
        ({}, {"projector_hidden_act": "relu"}, "'projector_hidden_act' 'relu'"),
        ({}, {"vision_config": VISION | {"hidden_act": "gelu"}}, "'hidden_act' 'gelu'"),
        ({}, {"vision_config": VISION | {"model_type": "clip"}}, "'model_type' 'clip'"),
        ({}, {"vision_config": None}, "has no 'vision_config'"),
        ({}, {"text_config": []}, "has no 'text_config'"),
    ],
)
def test_what_no_layer_computes_is_refused_by_name(text: dict[str, Any], config: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says) as refused:
        params(text, **config)
    assert refused.value.status == 4
    assert len(refused.value.message) <= 160
