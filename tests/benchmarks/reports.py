"""Reports as `make bench` makes them, with round numbers."""

from typing import Any

MACHINE = {
    "processor": "Abacus", "cores": 2, "memory_gib": 24.0, "system": "Linux", "python": "3.11", "packages": {"torch": "2.13"},
}  # fmt: skip


def row(decode: float, first: float, last: float = 0.02, **more: float) -> dict[str, Any]:
    return {
        "load": 1.0,
        "memory": 2e9,
        "ttft": [first, last],
        "decode": decode,
        "prompt": [1000, 1200],
        "tokens": [32, 32],
        **more,
    }


def model(**more: Any) -> dict[str, Any]:
    """Memory allows 50 tokens a second: 10 GB/s, of which a token reads 199 MB of weights and 1 MB of KV cache."""
    ours = {"imports": 0.5e9, "weights": 1e9, "step": 199e6}
    return {
        "name": "random", "checkpoint": "random-500m", "side": 512, "kv": 1e6 / 1200, "operations": 1e12,
        "limits": {"read": 10e9, "matrix": 2e11},
        "five questions": {
            "pixtral": row(40.0, 0.5, **ours), "pixtral 8bit": row(60.0, 0.6, **ours), "llama.cpp": row(32.0, 1.0),
            "llama.cpp Q8_0": row(80.0, 1.0), "llama.cpp Q8_0, output too": row(120.0, 1.0), "vLLM": row(20.0, 0.4),
        },
        "ten turns": {"pixtral": {"ttft": [0.5] * 9 + [0.02]}, "mistral_inference": {"ttft": [1.0] * 9 + [3.0]}},
        "thirty pages": {"pixtral": row(40.0, 10.0), "llama.cpp": row(32.0, 20.0)},
        "batches": {"pixtral": {"1": 40.0, "4": 100.0, "8": 200.0}},
        "follow-ups": {"ttft": 0.022, "alone": 0.02, "ratio": 1.1},
        "edit": {"tokens": 500.0, "with": 1.0, "without": 3.0, "ratio": 3.0},
        "schema": {"plain": 40.0, "schema": 39.0, "ratio": 0.975},
        "parallel answers": {"one": 40.0, "choices": 180.0, "one call": 39.0, "calls": 156.0},
        "loading": {
            "load": 0.4, "reading the file": 0.2, "reading the file from the disk": 1.0, "from the disk to the first token": 1.2,
        },
        **more,
    }  # fmt: skip


def report(*models: dict[str, Any], **more: Any) -> dict[str, Any]:
    startup = {"python -c 'import torch'": 1.0, "pixtral ask (demo)": 1.5}
    return {
        "when": "2026-11-23T19:00", "rounds": 3, "machine": MACHINE, "absent": {}, "startup": startup,
        "models": list(models or [model()]), **more,
    }  # fmt: skip
