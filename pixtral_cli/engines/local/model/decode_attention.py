"""Attention of a decode step on a GPU: one new position of each sequence, all sequences in the same launches."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pixtral_cli.engines.local.kernels import gpu
from pixtral_cli.engines.local.kernels.formats import ALIGNMENT
from pixtral_cli.engines.local.model.kv_cache import KVCache


class DecodeAttention:
    """Appends a position to each cache and computes its attention to all positions, layer by layer.

    The result of a sequence does not depend on the others, bit for bit. The caches must have capacity for the position.
    """

    def __init__(self, caches: Sequence[KVCache], device: torch.device) -> None:
        lengths = [cache.length + 1 for cache in caches]
        layers = zip(*(cache.addresses() for cache in caches), strict=True)
        # Every row begins at a multiple of 16 bytes: for other addresses Triton would compile further kernels.
        padding = [0] * (len(caches) % 2)
        rows = [[*row, *padding] for layer in layers for row in zip(*layer, strict=True)]
        table = torch.tensor([*rows, [*lengths, *padding]])
        table[:-1:2] //= ALIGNMENT
        # For each layer a row of addresses and a row of capacities; then a row of lengths.
        self._table = table.to(device)
        self._longest = max(lengths)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Queries (B, H, D), keys and values (B, G, D) → (B, H, D)."""
        addresses, capacities, lengths = self._table[2 * layer], self._table[2 * layer + 1], self._table[-1]
        return gpu.attend(query, key, value, addresses, capacities, lengths, self._longest)
