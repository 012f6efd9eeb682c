"""A loaded model as a value; `weights.loader` makes it."""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Weights:
    """mistral_inference's `Transformer` with its weights.

    `dtype` is that of every weight that `scheme` ("none", "8bit" or "4bit") does not quantize; `size` is in bytes.
    """

    model: Any
    device: torch.device
    dtype: torch.dtype
    size: int
    scheme: str = "none"
