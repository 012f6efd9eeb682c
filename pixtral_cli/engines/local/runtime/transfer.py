"""Copies weights to a device; to an NVIDIA GPU through page-locked memory, so that reading and copying overlap."""

from typing import Any

import torch
from torch import Tensor

PIECE_BYTES = 1 << 26  # bytes of a staging buffer
DIRECT_BYTES = 1 << 20  # smaller tensors are copied directly


class Transfer:
    """Copies tensors from memory or a mapped file to `device`, with at most two staging buffers.

    torch copies a piece into page-locked memory with all its threads, which so read a mapped file in parallel. The GPU
    copies the piece and converts its dtype while the next piece is read.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: list[StagingBuffer] = []
        self._next = 0

    def __call__(self, source: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """The tensor on the device, contiguous and in `dtype` (by default its own); not copied where it is so already."""
        dtype = dtype or source.dtype
        if self._device.type != "cuda" or source.nbytes < DIRECT_BYTES or not source.is_contiguous():
            return source.to(device=self._device, dtype=dtype).contiguous()
        return self._in_pieces(source, dtype)

    def _in_pieces(self, source: Tensor, dtype: torch.dtype) -> Tensor:
        out = torch.empty(source.shape, device=self._device, dtype=dtype)
        self._buffers = self._buffers or [StagingBuffer(self._device), StagingBuffer(self._device)]
        size = PIECE_BYTES // source.itemsize
        for part, target in zip(torch.split(source.view(-1), size), torch.split(out.view(-1), size), strict=True):
            self._next = 1 - self._next
            self._buffers[self._next].send(part, target)
        return out

    def finish(self) -> None:
        """Wait until all copies have finished, and free the page-locked memory."""
        for buffer in self._buffers:
            buffer.wait()
        self._buffers = []


class StagingBuffer:
    """A buffer of page-locked memory that the GPU reads from."""

    def __init__(self, device: torch.device) -> None:
        self._memory = torch.empty(PIECE_BYTES, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._sent: Any = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def send(self, source: Tensor, target: Tensor) -> None:
        """Copy (N,) to (N,) on the device, after the previous copy from this buffer has finished."""
        self.wait()
        staged = self._memory[: source.nbytes].view(source.dtype)
        staged.copy_(source)
        target.copy_(staged, non_blocking=True)
        if self._sent:
            self._sent.record()

    def wait(self) -> None:
        """Wait until the last copy has finished."""
        if self._sent:
            self._sent.synchronize()
