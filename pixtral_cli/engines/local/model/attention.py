"""Attention and rotary positions for every device, in our kernel or plain torch. Knows no model and no cache."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pixtral_cli.engines.local.kernels.cpu import attention, supports_attention


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Causal attention of the last T of S positions, heads in groups: query (T, H, D), key, value (G, S, D) → (T, H, D).

    `mask` is `causal_mask(T, S - T, …)`.
    """
    length, heads, size = query.shape
    groups = key.shape[0]
    if supports_attention(query.device, query.dtype, size):
        return attention(query, key, value, key.shape[1] - length)
    if length == 1:
        # The heads of a group are so many queries at one position: no mask, and each key is read once.
        grouped = query.view(1, groups, heads // groups, size)
        return F.scaled_dot_product_attention(grouped, key[None], value[None]).view(1, heads, size)
    out = F.scaled_dot_product_attention(
        query.transpose(0, 1)[None], key[None], value[None], attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )
    return out[0].transpose(0, 1)


def causal_mask(length: int, past: int, device: torch.device, dtype: torch.dtype, head_dim: int) -> Tensor | None:
    """What hides the future from a chunk of `length` positions after `past` others; None where attention needs no mask."""
    if length == 1 or not past or supports_attention(device, dtype, head_dim):
        return None
    if device.type == "cuda":
        from torch.nn.attention.bias import causal_lower_right  # which brings the compiler: a second and a half

        return causal_lower_right(length, past + length)
    mask = torch.full((length, past + length), float("-inf"), device=device, dtype=dtype)
    return mask.triu_(past + 1)


def attend_all(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of every position to every other: (T, H, D) each → (T, H, D)."""
    if supports_attention(query.device, query.dtype, query.shape[-1]):
        return attention(query, key.transpose(0, 1), value.transpose(0, 1), len(key))
    query, key, value = (states.transpose(0, 1)[None] for states in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value)[0].transpose(0, 1)


def rotate(states: Tensor, turns: Tensor) -> Tensor:
    """Rotary position embedding over neighbouring pairs: states (T, H, D), turns complex (T, D / 2)."""
    pairs = torch.view_as_complex(states.float().view(*states.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns[:, None]).flatten(-2).type_as(states)


class Rotary:
    """The turns of positions 0, 1, 2, …: computed when first needed, at any length."""

    def __init__(self, head_dim: int, theta: float, device: torch.device) -> None:
        self._head_dim, self._theta, self._device = head_dim, theta, device
        self._table = torch.empty(0, head_dim // 2, dtype=torch.complex64, device=device)

    def at(self, start: int, stop: int) -> Tensor:
        """Complex turns (stop - start, head_dim / 2)."""
        if stop > len(self._table):
            self._table = turns(self._head_dim, max(stop, 2 * len(self._table), 1024), self._theta).to(self._device)
        return self._table[start:stop]


def turns(head_dim: int, count: int, theta: float) -> Tensor:
    """The turns of `count` positions: (count, head_dim / 2), complex."""
    frequencies = 1.0 / (theta ** (torch.arange(0, head_dim, 2).float() / head_dim))
    angles = torch.outer(torch.arange(count), frequencies)
    return torch.polar(torch.ones_like(angles), angles)


def turns_2d(head_dim: int, rows: int, columns: int, theta: float) -> Tensor:
    """The turns of a grid of patches in reading order, rows and columns by turns: (rows * columns, head_dim / 2)."""
    frequencies = 1.0 / (theta ** (torch.arange(0, head_dim, 2).float() / head_dim))
    down = torch.outer(torch.arange(rows), frequencies[::2])[:, None].expand(-1, columns, -1)
    across = torch.outer(torch.arange(columns), frequencies[1::2])[None].expand(rows, -1, -1)
    angles = torch.cat([down, across], dim=-1).flatten(0, 1)
    return torch.polar(torch.ones_like(angles), angles)
