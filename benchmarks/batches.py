"""Answering one, four and eight questions at a time: here and by vLLM, beside what the memory allows one answer."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

SIZES = (1, 4, 8)
TOKENS = 64
VLLM = Path(__file__).parent.parent / ".venv-vllm" / "bin" / "vllm"
READ = 1 << 28  # bytes read to find how fast memory is


def measure(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Of each program, medians: tokens a second together by the number of answers; of ours, also what bounds them."""
    return {program.__name__: _apart(program.__name__, folder, rounds) for program in (pixtral, vllm)}


def _apart(program: str, folder: Path, rounds: int) -> dict[str, float]:
    code = (
        "import json, pathlib\n"
        f"from benchmarks.batches import {program} as run\n"
        f"print(json.dumps(run(pathlib.Path({str(folder)!r}), {rounds})))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def pixtral(folder: Path, rounds: int) -> dict[str, float]:
    from pixtral_cli.engines.local import LocalEngine

    engine = LocalEngine(folder, device="cpu", dtype="bf16")
    weights = engine.load().weights
    embeddings = weights.model.tok_embeddings.weight
    vision = [tensor.nbytes for name, tensor in weights.model.state_dict().items() if name.startswith("vision")]
    found = _rates(engine, rounds)
    read = statistics.median(_reading(embeddings.dtype) for _ in range(rounds))
    return found | {"read": read, "bytes": float(weights.size - embeddings.nbytes - sum(vision))}


def vllm(folder: Path, rounds: int) -> dict[str, float]:
    """vLLM on the CPU as it comes, compiled; its program is the one in `.venv-vllm`."""
    from pixtral_cli.engines.vllm import VllmEngine
    from pixtral_cli.engines.vllm.command import Launch

    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    with tempfile.TemporaryDirectory() as own:
        launch = Launch(own, own, str(VLLM), arguments=("--max-model-len", "4096"))
        with closing(VllmEngine(folder, name="model", launch=launch, dtype="bf16")) as engine:
            return _rates(engine, rounds)


def _rates(engine: Any, rounds: int) -> dict[str, float]:
    _together(engine, 1, 2)  # it loads, or starts
    taken: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(rounds):
        for size, rates in taken.items():
            rates.append(_together(engine, size, TOKENS))
    return {str(size): statistics.median(rates) for size, rates in taken.items()}


def _together(engine: Any, size: int, tokens: int) -> float:
    """Tokens a second of so many answers to short questions, all asked at once."""
    from pixtral_cli.chat.engine import Sampling
    from pixtral_cli.chat.message import user

    sampling = Sampling(temperature=0.0, max_tokens=tokens)
    counts: list[int] = []

    def pull(number: int) -> None:
        *_, last = engine.stream([user(f"Tell story number {number}.")], sampling)
        counts.append(last.usage.completion_tokens)

    threads = [threading.Thread(target=pull, args=(number,)) for number in range(size)]
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
