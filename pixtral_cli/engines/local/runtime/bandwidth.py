"""The memory bandwidth of a device, which limits the decode rate of one answer."""

import time

import torch

SIZE = 1 << 28  # bytes; larger than any processor cache
ROUNDS = 4


def read_bandwidth(device: str) -> float:
    """Bytes read a second: the best of `ROUNDS` sums of a tensor. Takes a fraction of a second."""
    numbers = torch.ones(SIZE // 4, dtype=torch.float32, device=device)
    best = min(_seconds(numbers) for _ in range(ROUNDS))
    return SIZE / best


def _seconds(numbers: torch.Tensor) -> float:
    begin = time.perf_counter()
    torch.sum(numbers).item()  # waits for the device
    return time.perf_counter() - begin
