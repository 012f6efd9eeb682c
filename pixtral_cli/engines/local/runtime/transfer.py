"""Copies weights to a device; to an NVIDIA GPU in pieces through page-locked memory, so that reading and sending overlap."""

from typing import Any

import torch
from torch import Tensor

PIECE_BYTES = 1 << 26
DIRECT_BYTES = 1 << 20  # smaller tensors are copied as they are


class Transfer:
    """Copies tensors from memory or a mapped file to `device`; more than one piece of a tensor is never held twice.

    torch copies a piece into page-locked memory with all its threads, which also reads a mapped file with all of them. The
    GPU fetches it and converts its dtype while the next piece is read.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pieces: list[Piece] = []
        self._turn = 0

    def __call__(self, source: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """The tensor on the device, in `dtype` where one is given, contiguous; uncopied where it is so already."""
        dtype = dtype or source.dtype
        if self._device.type != "cuda" or source.nbytes < DIRECT_BYTES or not source.is_contiguous():
            return source.to(device=self._device, dtype=dtype).contiguous()
        return self._in_pieces(source, dtype)

    def _in_pieces(self, source: Tensor, dtype: torch.dtype) -> Tensor:
        out = torch.empty(source.shape, device=self._device, dtype=dtype)
        self._pieces = self._pieces or [Piece(self._device), Piece(self._device)]
        size = PIECE_BYTES // source.itemsize
        for part, target in zip(torch.split(source.view(-1), size), torch.split(out.view(-1), size), strict=True):
            self._turn = 1 - self._turn
            self._pieces[self._turn].send(part, target)
        return out

    def finish(self) -> None:
        """Wait until everything has arrived, and free the page-locked memory."""
        for piece in self._pieces:
            piece.wait()
        self._pieces = []


class Piece:
    """A buffer of page-locked memory that the GPU reads from."""

    def __init__(self, device: torch.device) -> None:
        self._memory = torch.empty(PIECE_BYTES, dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._sent: Any = torch.cuda.Event() if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def send(self, source: Tensor, target: Tensor) -> None:
        """Copy (N,) to (N,) on the device, once what was sent before has arrived."""
        self.wait()
        staged = self._memory[: source.nbytes].view(source.dtype)
        staged.copy_(source)
        target.copy_(staged, non_blocking=True)
        if self._sent:
            self._sent.record()

    def wait(self) -> None:
        if self._sent:
            self._sent.synchronize()
