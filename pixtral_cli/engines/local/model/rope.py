"""Rotary position embedding (arXiv 2104.09864) over neighbouring pairs, as mistral_inference lays them out."""

import torch
from torch import Tensor


def apply_rope(states: Tensor, rotations: Tensor) -> Tensor:
    """Rotate states (T, H, D) by complex `rotations` (T, D / 2)."""
    pairs = torch.view_as_complex(states.float().view(*states.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rotations[:, None]).flatten(-2).type_as(states)


class RopeTable:
    """The rotations of positions 0, 1, 2, …, extended when a later position is asked for."""

    def __init__(self, head_dim: int, theta: float, device: torch.device) -> None:
        self._head_dim, self._theta, self._device = head_dim, theta, device
        self._table = torch.empty(0, head_dim // 2, dtype=torch.complex64, device=device)

    def rows(self, start: int, stop: int) -> Tensor:
        """Complex rotations (stop - start, head_dim / 2)."""
        if stop > len(self._table):
            count = max(stop, 2 * len(self._table), 1024)
            self._table = rope_table(self._head_dim, count, self._theta).to(self._device)
        return self._table[start:stop]


def rope_table(head_dim: int, count: int, theta: float) -> Tensor:
    """The rotations of positions 0 … count - 1: complex (count, head_dim / 2)."""
    angles = torch.outer(torch.arange(count), _frequencies(head_dim, theta))
    return torch.polar(torch.ones_like(angles), angles)


def rope_table_2d(head_dim: int, rows: int, columns: int, theta: float) -> Tensor:
    """The rotations of a grid of patches in reading order: (rows * columns, head_dim / 2), half by row, half by column."""
    frequencies = _frequencies(head_dim, theta)
    down = torch.outer(torch.arange(rows), frequencies[::2])[:, None].expand(-1, columns, -1)
    across = torch.outer(torch.arange(columns), frequencies[1::2])[None].expand(rows, -1, -1)
    angles = torch.cat([down, across], dim=-1).flatten(0, 1)
    return torch.polar(torch.ones_like(angles), angles)


def _frequencies(head_dim: int, theta: float) -> Tensor:
    return 1.0 / (theta ** (torch.arange(0, head_dim, 2).float() / head_dim))
