"""The checkpoints that are measured: the demo, and random ones with Pixtral's true tokenizer and layer proportions."""

from pathlib import Path

import torch

from tests.engines.checkpoints import Sizes, build

DEMO = Path(__file__).parent.parent / "pixtral_cli" / "models" / "demo"

RANDOM = {
    "random-200m": Sizes(
        dim=768, layers=12, heads=12, kv_heads=4, head_dim=64, hidden=2048, vocab=131072, theta=1e9,
        vision_dim=512, vision_layers=8, vision_heads=8, vision_hidden=1536, image=1024,
    ),
}  # fmt: skip


def write_random(name: str, folder: Path) -> Path:
    """Write one of `RANDOM` into a folder, in bf16; returns it."""
    return build(folder, RANDOM[name], dtype=torch.bfloat16)
