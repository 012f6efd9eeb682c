"""Translates config.json, as Hugging Face transformers writes it, into the keys of params.json.

Keys that a config leaves out have the defaults of its class in transformers 5.23.
"""

from typing import Any

from pixtral_cli.errors import ModelError
from pixtral_cli.models.layout import CONFIG

MISTRAL_FORMAT_HINT = "Take the model in mistral format: params.json, tekken.json and consolidated.safetensors"
TEXT_DEFAULTS: dict[str, dict[str, Any]] = {
    "mistral": {
        "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131_072, "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0, "sliding_window": 4096,
    },
    "ministral3": {
        "vocab_size": 131_072, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 34,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 262_144,
        "rms_norm_eps": 1e-5, "rope_theta": 1_000_000.0, "sliding_window": None,
    },
}  # fmt: skip
VISION_DEFAULTS = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
    "num_channels": 3, "image_size": 1024, "patch_size": 16, "hidden_act": "gelu", "rope_theta": 10_000.0,
}  # fmt: skip
GROUP_SIZE = 64  # weights that share a scale in the engine's 4-bit layers; a checkpoint's groups must be multiples
PIXTRAL_WINDOW = 131_072  # mistral-community/pixtral-12b claims 1,024,000 positions; the model has 128K
MODELS = ("llava", "mistral3", *TEXT_DEFAULTS)
# What translating a malformed config raises.
INVALID_CONFIG_ERRORS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


def is_supported_architecture(config: Any) -> bool:
    """Whether `to_params` translates configs of this architecture; the values of its keys are not checked."""
    if not isinstance(config, dict) or config.get("model_type") not in MODELS:
        return False
    text = config if config["model_type"] in TEXT_DEFAULTS else config.get("text_config")
    return isinstance(text, dict) and text.get("model_type", "mistral") in TEXT_DEFAULTS


def to_params(config: dict[str, Any], name: str) -> dict[str, Any]:
    """The content of the params.json of the same model. Raises ModelError for what the local engine cannot compute."""
    model = config.get("model_type")
    text_only = model in TEXT_DEFAULTS
    text = config if text_only else _object(config, "text_config", name)
    kind = text.get("model_type", "mistral")
    if model not in MODELS or kind not in TEXT_DEFAULTS:
        raise _refusal(name, f"a model of type {str(model if model not in MODELS else kind)[:30]!r}")
    _check_quantization(config.get("quantization_config") or text.get("quantization_config") or {}, name)
    text = {**TEXT_DEFAULTS[kind], **text}
    _check(text, {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False}, name)
    if text["sliding_window"] is not None:
        raise _refusal(name, "'sliding_window'")
    params = {
        "dim": text["hidden_size"], "n_layers": text["num_hidden_layers"], "hidden_dim": text["intermediate_size"],
        "n_heads": text["num_attention_heads"], "n_kv_heads": text["num_key_value_heads"],
        "head_dim": text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"],
        "norm_eps": text["rms_norm_eps"], "vocab_size": text["vocab_size"],
        "tied_embeddings": bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
        "max_position_embeddings": text["max_position_embeddings"], **_rope(text, name),
    }  # fmt: skip
    if model == "llava":
        params["max_position_embeddings"] = min(text["max_position_embeddings"], PIXTRAL_WINDOW)
    return params if text_only else {**params, "vision_encoder": _vision(config, name)}


def _check_quantization(config: dict[str, Any], name: str) -> None:
    """Raises ModelError for quantization that tensors do not show; other kinds are checked with the tensors."""
    method = config.get("quant_method")
    if config and method not in ("fp8", "compressed-tensors"):
        raise _refusal(name, f"quantization by {str(method)[:30]!r}")
    for key in ("weight_block_size", "transform_config"):
        if config.get(key):
            raise _refusal(name, f"quantization with {key!r}")
    for group in (config.get("config_groups") or {}).values():
        _check_group(group.get("weights") or {}, name)
    sparsity = config.get("sparsity_config") or {}
    if "24" in str(config.get("format")) or sparsity.get("format", "dense") != "dense":
        raise _refusal(name, "quantization of sparse weights")


def _check_group(weights: dict[str, Any], name: str) -> None:
    """Raises ModelError for a compressed-tensors weight scheme that no layer of the local engine represents."""
    bits, kind = weights.get("num_bits", 8), weights.get("type", "int")
    size = weights.get("group_size") or -1  # weights of a row that share a scale
    if (kind, bits) not in (("int", 4), ("int", 8), ("float", 8)):
        raise _refusal(name, f"{bits}-bit weights of type {str(kind)[:30]!r}")
    if weights.get("symmetric") is False:
        raise _refusal(name, "weights with zero points ('symmetric' false)")
    if weights.get("actorder") not in (None, False, "weight", "static"):
        raise _refusal(name, f"'actorder' {str(weights['actorder'])[:30]!r}")
    if size > 0 and (bits == 8 or size % GROUP_SIZE):
        raise _refusal(name, f"groups of {size} for {bits} bits")


def _rope(text: dict[str, Any], name: str) -> dict[str, Any]:
    """`rope_theta`, `yarn` and `llama_4_scaling` from `rope_parameters`, or from the keys of older versions."""
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    params: dict[str, Any] = {"rope_theta": rope.get("rope_theta", text["rope_theta"])}
    if kind not in ("default", "yarn"):
        raise _refusal(name, f"'rope_type' {str(kind)[:30]!r}")
    original = rope.get("original_max_position_embeddings")
    if kind == "yarn":
        if rope.get("truncate") is False or rope.get("partial_rotary_factor", 1) != 1:
            raise _refusal(name, "YaRN with 'truncate' or 'partial_rotary_factor'")
        factor = rope.get("factor") or text["max_position_embeddings"] / (original or text["max_position_embeddings"])
        params["yarn"] = {
            "original_max_position_embeddings": original, "factor": float(factor),
            "beta": float(rope.get("beta_fast") or 32), "alpha": float(rope.get("beta_slow") or 1),
            **_magnitude(rope, name),
        }  # fmt: skip
    if beta := rope.get("llama_4_scaling_beta"):
        params["llama_4_scaling"] = {"original_max_position_embeddings": original, "beta": float(beta)}
    return params


def _magnitude(rope: dict[str, Any], name: str) -> dict[str, Any]:
    """YaRN's attention factor as keys of `yarn` in params.json. Equal `mscale` and `mscale_all_dim` cancel out."""
    if factor := rope.get("attention_factor"):
        return {"attention_factor": float(factor)}
    mscale, all_dim = rope.get("mscale"), rope.get("mscale_all_dim")
    if mscale and all_dim and mscale != all_dim:
        raise _refusal(name, "different 'mscale' and 'mscale_all_dim'")
    return {"apply_scale": not (mscale and all_dim)}


def _vision(config: dict[str, Any], name: str) -> dict[str, Any]:
    """The `vision_encoder` of params.json. Raises ModelError."""
    vision = {**VISION_DEFAULTS, **_object(config, "vision_config", name)}
    merged = config["model_type"] == "mistral3"
    _check(vision, {"model_type": "pixtral", "hidden_act": "silu"}, name)
    _check(config, {"projector_hidden_act": "gelu"}, name)
    if not merged:
        features = {"vision_feature_layer": -2, "vision_feature_select_strategy": "default", **config}
        _check(features, {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"}, name)
    rope = vision.get("rope_parameters") or {}
    keys = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels", "image_size",
            "patch_size")  # fmt: skip
    merge = {"spatial_merge_size": config.get("spatial_merge_size", 2), "mm_projector_id": "patch_merge",
             "add_pre_mm_projector_layer_norm": True} if merged else {}  # fmt: skip
    return {
        **{key: vision[key] for key in keys}, "rope_theta": rope.get("rope_theta", vision["rope_theta"]), **merge,
        "adapter_bias": bool(config.get("multimodal_projector_bias", not merged)),
        "image_token_id": config.get("image_token_id", config.get("image_token_index", 10 if merged else 32_000)),
    }  # fmt: skip


def _object(config: dict[str, Any], key: str, name: str) -> dict[str, Any]:
    """The object of a key. Raises ModelError when there is none."""
    value = config.get(key)
    if not isinstance(value, dict):
        raise ModelError(f"{CONFIG} of {name} has no {key!r}", MISTRAL_FORMAT_HINT)
    return value


def _check(config: dict[str, Any], expected: dict[str, Any], name: str) -> None:
    """Raises ModelError for a key that is set to another value than the expected one."""
    for key, value in expected.items():
        if config.get(key, value) not in (value, None):
            raise _refusal(name, f"{key!r} {str(config[key])[:30]!r}")


def _refusal(name: str, what: str) -> ModelError:
    return ModelError(
        f"{CONFIG} of {name} asks for {what}, which the local engine cannot run"[:160], MISTRAL_FORMAT_HINT
    )
