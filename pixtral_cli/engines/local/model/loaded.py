"""A loaded model as a value; `weights.loader` creates it."""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Weights:
    """mistral_inference's `Transformer` with its weights.

    `dtype`: that of the weights that are not quantized; `size`: bytes; `scheme`: "none", "8bit" or "4bit".
    """

    model: Any
    device: torch.device
    dtype: torch.dtype
    size: int
    scheme: str = "none"
