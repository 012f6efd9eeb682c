"""Rotary position embedding (arXiv 2104.09864) over neighbouring pairs, as mistral_inference lays them out."""

import math

import torch
from torch import Tensor

from pixtral_cli.engines.local.config import Params, Yarn


def apply_rope(states: Tensor, rotations: Tensor) -> Tensor:
    """Rotate states (T, H, D) by complex `rotations` (T, D / 2)."""
    pairs = torch.view_as_complex(states.float().view(*states.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rotations[:, None]).flatten(-2).type_as(states)


class RopeTable:
    """The rotations of positions 0, 1, 2, …, extended when a later position is requested.

    With YaRN the rotations include its magnitude, which scales queries and keys. Llama 4's factors are in `scales`.
    """

    def __init__(self, params: Params, device: torch.device) -> None:
        self._params, self._device = params, device
        self._table = torch.empty(0, params.head_dim // 2, dtype=torch.complex64, device=device)

    def rows(self, start: int, stop: int) -> Tensor:
        """The complex rotations of positions [start, stop): (stop - start, head_dim / 2)."""
        if stop > len(self._table):
            count = max(stop, 2 * len(self._table), 1024)
            self._table = rope_table(self._params, count).to(self._device)
        return self._table[start:stop]

    def scales(self, start: int, stop: int) -> Tensor | None:
        """Llama 4's factors (stop - start) of the queries at positions [start, stop); None where all are 1."""
        scaling = self._params.llama_4_scaling
        if scaling is None or stop <= scaling.original_max_position_embeddings:
            return None
        # Computed one by one: the logarithms of a vector may differ in the last bit with its length.
        periods = (position // scaling.original_max_position_embeddings for position in range(start, stop))
        factors = [1 + scaling.beta * math.log1p(period) for period in periods]
        return torch.tensor(factors, dtype=torch.float32, device=self._device)


def rope_table(params: Params, count: int) -> Tensor:
    """The rotations of positions 0 … count - 1: complex (count, head_dim / 2)."""
    frequencies, yarn = _frequencies(params.head_dim, params.rope_theta), params.yarn
    if yarn:
        frequencies = _yarn_frequencies(frequencies, params.rope_theta, yarn)
    angles = torch.outer(torch.arange(count), frequencies)
    return torch.polar(torch.full_like(angles, yarn.magnitude if yarn else 1), angles)


def _yarn_frequencies(frequencies: Tensor, theta: float, yarn: Yarn) -> Tensor:
    """Section 3.2 of arXiv 2309.00071: dimensions with few rotations are interpolated, those with many are kept."""
    count = len(frequencies)

    def dimension(rotations: float) -> float:
        """The dimension that makes this number of rotations within the original context window."""
        return count * math.log(yarn.original_max_position_embeddings / (rotations * 2 * math.pi)) / math.log(theta)

    low, high = max(math.floor(dimension(yarn.beta)), 0), min(math.ceil(dimension(yarn.alpha)), 2 * count - 1)
    ramp = ((torch.arange(count).float() - low) / (high - low or 0.001)).clamp(0, 1)
    return frequencies / yarn.factor * ramp + frequencies * (1 - ramp)


def rope_table_2d(head_dim: int, rows: int, columns: int, theta: float) -> Tensor:
    """The rotations of a grid of patches in reading order: (rows * columns, head_dim / 2), half by row, half by column."""
    frequencies = _frequencies(head_dim, theta)
    row_angles = torch.outer(torch.arange(rows), frequencies[::2])[:, None].expand(-1, columns, -1)
    column_angles = torch.outer(torch.arange(columns), frequencies[1::2])[None].expand(rows, -1, -1)
    angles = torch.cat([row_angles, column_angles], dim=-1).flatten(0, 1)
    return torch.polar(torch.ones_like(angles), angles)


def _frequencies(head_dim: int, theta: float) -> Tensor:
    """The angle per position of each pair: (head_dim / 2)."""
    return 1.0 / (theta ** (torch.arange(0, head_dim, 2).float() / head_dim))
