"""The KV cache of one sequence: it grows as needed and is rewound by setting its length."""

from collections.abc import Callable

import torch
from torch import Tensor

from pixtral_cli.engines.local.config import Params
from pixtral_cli.errors import OutOfMemory

GROWTH_POSITIONS = 256  # a cache grows by multiples of this

ReserveMemory = Callable[[int], None]


def position_bytes(params: Params, dtype: torch.dtype) -> int:
    """Bytes of one position's keys and values over all layers."""
    return 2 * params.n_kv_heads * params.head_dim * dtype.itemsize * params.n_layers


def _round_up(length: int) -> int:
    """The next multiple of GROWTH_POSITIONS."""
    return -(-length // GROWTH_POSITIONS) * GROWTH_POSITIONS


class KVCache:
    """Keys and values of every layer for `length` positions. Storage beyond `length` is never read."""

    def __init__(self, params: Params, device: torch.device, dtype: torch.dtype, reserve: ReserveMemory) -> None:
        self.length = 0
        self._reserve = reserve
        self._empty = torch.empty(2, params.n_kv_heads, 0, params.head_dim, device=device, dtype=dtype)
        self._layers = [self._empty] * params.n_layers
        self._position_bytes = position_bytes(params, dtype)
        self._window = params.context_window

    @property
    def capacity(self) -> int:
        """Positions for which there is storage in every layer."""
        return min(layer.shape[2] for layer in self._layers)

    @property
    def size(self) -> int:
        """Bytes of storage."""
        return sum(layer.nbytes for layer in self._layers)

    @torch.inference_mode()
    def grow(self, length: int) -> None:
        """Ensure a capacity of `length` positions. `reserve` is called with the bytes needed and may raise OutOfMemory."""
        if length <= self.capacity:
            return
        exact, generous = _round_up(length), _round_up(max(length, min(self.capacity + self._headroom(), self._window)))
        try:
            self._grow_to(generous)
        except OutOfMemory:
            if exact == generous:
                raise
            self._grow_to(exact)

    def _headroom(self) -> int:
        """Positions to add at once.

        A GPU's allocator cannot merge freed blocks into larger ones: large steps waste fewer.
        """
        return self.capacity // 8 if self._empty.device.type == "cpu" else self.capacity

    def _grow_to(self, capacity: int) -> None:
        """Copy every layer to storage of this capacity, one at a time. Raises OutOfMemory."""
        largest = max(layer.nbytes for layer in self._layers)
        self._reserve(capacity * self._position_bytes - self.size + largest)
        for index, layer in enumerate(self._layers):
            grown = self._empty.new_empty(2, layer.shape[1], capacity, layer.shape[3])
            grown[:, :, : self.length] = layer[:, :, : self.length]
            self._layers[index] = grown

    @torch.inference_mode()
    def copy(self, other: "KVCache", length: int) -> None:
        """Copy the first `length` positions of another cache."""
        self.grow(length)
        for ours, theirs in zip(self._layers, other._layers, strict=True):
            ours[:, :, :length] = theirs[:, :, :length]
        self.length = length

    def addresses(self) -> list[tuple[int, int]]:
        """For each layer the address of its storage (2, G, capacity, D) and its capacity in positions."""
        return [(layer.data_ptr(), layer.shape[2]) for layer in self._layers]

    def append(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write (T, G, D) after the valid positions of one layer; returns all its keys and values, (G, S, D) each.

        They become valid when `length` is raised, after the last layer.
        """
        store = self._layers[layer]
        stop = self.length + len(key)
        store[0, :, self.length : stop] = key.transpose(0, 1)
        store[1, :, self.length : stop] = value.transpose(0, 1)
        return store[0, :, :stop], store[1, :, :stop]
