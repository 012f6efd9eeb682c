"""Translates the names of tensors in Hugging Face transformers' checkpoints of this family to mistral_inference's.

Covers Llava, Mistral3, Mistral and Ministral3, as their repositories store them and as transformers 5 saves them.
"""

import re

from pixtral_cli.engines.local.config import Params

ROOTS = (
    (r"(?:model\.)?vision_tower\.", "vision_encoder."),
    (r"(?:model\.)?multi_modal_projector\.linear_1\.", "vision_language_adapter.w_in."),
    (r"(?:model\.)?multi_modal_projector\.linear_2\.", "vision_language_adapter.w_out."),
    (r"(?:model\.)?multi_modal_projector\.norm\.", "pre_mm_projector_norm."),
    (r"(?:model\.)?multi_modal_projector\.patch_merger\.", "patch_merger."),
    (r"(?:language_model\.)?lm_head\.", "output."),
    (r"(?:model\.)?language_model\.(?:model\.)?|model\.", ""),
)
MODULES = {
    "embed_tokens": "tok_embeddings", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn": "attention", "mlp": "feed_forward", "q_proj": "wq", "k_proj": "wk", "v_proj": "wv", "o_proj": "wo",
    "gate_proj": "w1", "down_proj": "w2", "up_proj": "w3", "weight_scale": "qscale_weight",
    "weight_scale_inv": "qscale_weight", "input_scale": "qscale_act", "activation_scale": "qscale_act",
}  # fmt: skip
UNUSED = re.compile(r".*(rotary_emb\.inv_freq|self_attn\.[kv]_scale)")
ROTARY = re.compile(r"(vision_encoder\.transformer\.)?layers\.\d+\.attention\.w([qk])\.(?!weight_shape)\w+")


def to_mistral_name(key: str) -> str:
    """The name in mistral_inference's module tree; "" for a tensor that the local engine does not use."""
    if UNUSED.fullmatch(key):
        return ""
    for pattern, root in ROOTS:
        if match := re.match(pattern, key):
            key = root + key[match.end() :]
            break
    return ".".join(MODULES.get(part, part) for part in key.split("."))


def rotary_heads(name: str, params: Params) -> int:
    """The heads of a query or key projection, whose rows are in rotary order; 0 for any other tensor."""
    match = ROTARY.fullmatch(name)
    if not match:
        return 0
    if match[1]:
        return params.vision.num_attention_heads if params.vision else 0
    return params.n_heads if match[2] == "q" else params.n_kv_heads
