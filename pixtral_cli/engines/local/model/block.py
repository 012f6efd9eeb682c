"""The forward pass of mistral_inference's `TransformerBlock`, for the decoder and the vision encoder."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pixtral_cli.engines.local.kernels.cpu import linear
from pixtral_cli.engines.local.model.rope import apply_rope

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def run_block(block: Any, states: Tensor, rotations: Tensor, attend: Attend) -> Tensor:
    """`states` (T, dim), in `residual_dtype` of the weights' dtype, after one block.

    `attend` is called with rotated queries (T, H, D), rotated keys (T, G, D) and values (T, G, D); it returns (T, H,
    D).
    """
    attention, count = block.attention, len(states)
    normed = norm(block.attention_norm, states)
    query = apply_rope(linear(attention.wq, normed).view(count, attention.n_heads, -1), rotations)
    key = apply_rope(linear(attention.wk, normed).view(count, attention.n_kv_heads, -1), rotations)
    value = linear(attention.wv, normed).view(count, attention.n_kv_heads, -1)
    states = states + linear(attention.wo, attend(query, key, value).flatten(1))
    feed_forward = block.feed_forward
    normed = norm(block.ffn_norm, states)
    return states + linear(feed_forward.w2, F.silu(linear(feed_forward.w1, normed)) * linear(feed_forward.w3, normed))


def norm(module: Any, states: Tensor) -> Tensor:
    """RMSNorm with the module's weight and epsilon, in the weight's dtype."""
    weight: Tensor = module.weight
    return F.rms_norm(states, states.shape[-1:], weight.to(states.dtype), module.eps).to(weight.dtype)


def residual_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of the residual stream: float32 for float16 weights, since models exceed float16's maximum, 65,504."""
    return torch.float32 if dtype == torch.float16 else dtype
