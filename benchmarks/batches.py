"""Decoding one, four and eight answers at a time, beside what the memory allows one."""

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZES = (1, 4, 8)
TOKENS = 24
READ = 1 << 28  # bytes read to find how fast memory is


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """Medians: tokens a second together by the number of answers, and bytes a second."""
    code = (
        "import json, pathlib\n"
        "from benchmarks.batches import once\n"
        f"print(json.dumps(once(pathlib.Path({str(folder)!r}), {rounds})))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def once(folder: Path, rounds: int) -> dict[str, float]:
    from pixtral_cli.engines.local import LocalEngine

    engine = LocalEngine(folder, device="cpu", dtype="bf16")
    weights = engine.load().weights
    embeddings = weights.model.tok_embeddings.weight
    vision = [tensor.nbytes for name, tensor in weights.model.state_dict().items() if name.startswith("vision")]
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        for size in SIZES:
            taken.setdefault(str(size), []).append(_together(engine, size))
        taken.setdefault("read", []).append(_reading(embeddings.dtype))
    found = {name: statistics.median(values) for name, values in taken.items()}
    return found | {"bytes": float(weights.size - embeddings.nbytes - sum(vision))}


def _together(engine: Any, size: int) -> float:
    """Tokens a second of so many answers whose prompts have been read."""
    from pixtral_cli.chat.engine import Sampling
    from pixtral_cli.chat.message import user

    said = [[user(f"Tell story number {number}.")] for number in range(size)]
    streams = [engine.stream(each, Sampling(temperature=0.0, max_tokens=TOKENS)) for each in said]
    begun = [next(stream) for stream in streams]
    assert len(begun) == size
    counts: list[int] = []

    def pull(stream: Any) -> None:
        *_, last = stream
        counts.append(last.usage.completion_tokens - 1)

    threads = [threading.Thread(target=pull, args=(stream,)) for stream in streams]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def _reading(dtype: Any) -> float:
    """Bytes a second that the best of several kernels reads."""
    import torch

    from pixtral_cli.engines.local import product

    matrix = torch.nn.Linear(4096, READ // 4096 // dtype.itemsize, bias=False, dtype=dtype).requires_grad_(False)
    vector, numbers = torch.ones(1, 4096, dtype=dtype), matrix.weight.view(torch.int32)
    kernels: list[Callable[[], object]] = [
        lambda: product.linear(matrix, vector), lambda: matrix(vector), lambda: torch.sum(numbers), numbers.max,
    ]  # fmt: skip
    with torch.inference_mode():
        return READ / min(_seconds(kernel) for kernel in kernels for _ in range(3))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
