"""One transformer block of mistral_inference's module tree, in the decoder and in the vision encoder, with our attention."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from pixtral_cli.engines.local.kernels.cpu import linear
from pixtral_cli.engines.local.model.attention import rotate

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def run_block(block: Any, states: Tensor, turns: Tensor, attend: Attend) -> Tensor:
    """`states` (T, dim) after one block; `attend` is handed rotated queries (T, H, D), keys and values (T, G, D)."""
    attention, count = block.attention, len(states)
    normed = norm(block.attention_norm, states)
    query = rotate(linear(attention.wq, normed).view(count, attention.n_heads, -1), turns)
    key = rotate(linear(attention.wk, normed).view(count, attention.n_kv_heads, -1), turns)
    value = linear(attention.wv, normed).view(count, attention.n_kv_heads, -1)
    states = states + linear(attention.wo, attend(query, key, value).flatten(1))
    feed = block.feed_forward
    normed = norm(block.ffn_norm, states)
    return states + linear(feed.w2, F.silu(linear(feed.w1, normed)) * linear(feed.w3, normed))


def norm(module: Any, states: Tensor) -> Tensor:
    return F.rms_norm(states, states.shape[-1:], module.weight, module.eps)
