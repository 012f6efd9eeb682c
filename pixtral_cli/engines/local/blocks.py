"""One transformer block of mistral_inference's module tree, in the decoder and in the vision encoder, with our attention."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from pixtral_cli.engines.local.attention import rotate

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def run_block(block: Any, states: Tensor, turns: Tensor, attend: Attend) -> Tensor:
    """`states` (T, dim) after one block; `attend` is handed rotated queries (T, H, D), keys and values (T, G, D)."""
    attention = block.attention
    normed = norm(block.attention_norm, states)
    query = rotate(attention.wq(normed).unflatten(-1, (attention.n_heads, -1)), turns)
    key = rotate(attention.wk(normed).unflatten(-1, (attention.n_kv_heads, -1)), turns)
    value = attention.wv(normed).unflatten(-1, (attention.n_kv_heads, -1))
    states = states + attention.wo(attend(query, key, value).flatten(1))
    feed = block.feed_forward
    normed = norm(block.ffn_norm, states)
    fed: Tensor = feed.w2(F.silu(feed.w1(normed)) * feed.w3(normed))
    return states + fed


def norm(module: Any, states: Tensor) -> Tensor:
    return F.rms_norm(states, states.shape[-1:], module.weight, module.eps)
