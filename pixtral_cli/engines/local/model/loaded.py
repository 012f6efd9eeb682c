"""A loaded model as a value: the module tree and where its weights are. Leaves reading them to `weights.loader`."""

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Weights:
    """mistral_inference's `Transformer` with its weights.

    `device` is where they are; `dtype` that of all that `scheme` ("none", "8bit", "4bit") does not quantize; `size`
    how many bytes they take.
    """

    model: Any
    device: torch.device
    dtype: torch.dtype
    size: int
    scheme: str = "none"
