"""Scaled dot-product attention on every device: by the CPU kernel where it is supported, else by torch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pixtral_cli.engines.local.kernels.cpu import attention, supports_attention


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Causal attention of the last T of S positions: query (T, H, D), key, value (G, S, D) of head groups → (T, H, D).

    `mask` is `causal_mask(T, S - T, …)`.
    """
    length, heads, size = query.shape
    groups = key.shape[0]
    if supports_attention(query.device, query.dtype, size):
        return attention(query, key, value, key.shape[1] - length)
    if length == 1:
        # The heads of a group become the queries of one position, so that no mask is needed and each key is read once.
        grouped = query.view(1, groups, heads // groups, size)
        return F.scaled_dot_product_attention(grouped, key[None], value[None]).reshape(1, heads, size)
    if query.device.type == "cuda" and not _has_flash_attention(query.device, query.dtype):
        # torch's memory-efficient attention supports no groups; torch would fall back to one that stores all scores
        key, value = (states.repeat_interleave(heads // groups, 0) for states in (key, value))
    out = F.scaled_dot_product_attention(
        query.transpose(0, 1)[None], key[None], value[None], attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )
    return out[0].transpose(0, 1)


def causal_mask(length: int, past: int, device: torch.device, dtype: torch.dtype, head_dim: int) -> Tensor | None:
    """The additive causal mask (length, past + length) of a chunk after `past` positions; None where none is needed."""
    if length == 1 or supports_attention(device, dtype, head_dim):
        return None
    if not past and device.type != "mps":  # on MPS `is_causal` has attended to later positions in half precision
        return None
    if device.type == "cuda" and _has_flash_attention(device, dtype):
        from torch.nn.attention.bias import causal_lower_right  # imports the compiler, which takes 1.5 s

        return causal_lower_right(length, past + length)
    mask = torch.full((length, past + length), float("-inf"), device=device, dtype=dtype)
    return mask.triu_(past + 1)


def _has_flash_attention(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether torch has FlashAttention for this GPU and dtype."""
    return dtype.itemsize == 2 and torch.cuda.get_device_capability(device) >= (8, 0)


def attend_all(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of every position to every other: (T, H, D) each → (T, H, D)."""
    if supports_attention(query.device, query.dtype, query.shape[-1]):
        return attention(query, key.transpose(0, 1), value.transpose(0, 1), len(key))
    query, key, value = (states.transpose(0, 1)[None] for states in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value)[0].transpose(0, 1)
