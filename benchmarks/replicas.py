"""Rows a second of `pixtral batch` over one machine and over two, each a network namespace with one core and a real vLLM.

`python -m benchmarks.replicas [--rows 200]` prints both rates and their ratio. It needs root, for the namespaces, and
`make .venv-vllm/ready`. The front and the batch run on the same cores as the two vLLMs.
"""

import argparse
import json
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.engines.vllm.namespaces import Host, two_hosts

ROOT = Path(__file__).parent.parent
VLLM = (
    "--model", "demo", "--dtype", "float32", "--engine", "vllm", "--vllm-args", "--enforce-eager --max-model-len 2048",
)  # fmt: skip
COORDINATOR = "10.77.0.1:8790"
WARM_UP = 16  # rows before those that are measured


def measure(rows: int) -> dict[int, float]:
    """Rows a second, by the number of machines."""
    return {machines: _rate(machines, rows) for machines in (1, 2)}


def _rate(machines: int, rows: int) -> float:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        first, second = stack.enter_context(two_hosts(folder))
        cores = sorted(os.sched_getaffinity(0))
        for number, host in enumerate((first, second)):
            host.env |= {
                "PIXTRAL_VLLM": str(ROOT / ".venv-vllm" / "bin" / "vllm"), "VLLM_CPU_KVCACHE_SPACE": "1",
                "PIXTRAL_JOIN_TOKEN": "benchmark", "VLLM_CPU_OMP_THREADS_BIND": str(cores[number % len(cores)]),
            }  # fmt: skip
        several: tuple[str, ...] = ()
        if machines == 2:
            several = ("--nodes", "2", "--coordinator", COORDINATOR)
            second.start("join", COORDINATOR, "--rank", "1", "--wait", "5m")
        first.start("serve", *VLLM, *several, "--port", "8000").says("demo answers at", 600)
        _batch(first, folder, "warm-up", WARM_UP)
        start = time.perf_counter()
        _batch(first, folder, "measured", rows)
        return rows / (time.perf_counter() - start)


def _batch(host: Host, folder: Path, name: str, count: int) -> None:
    """Answers to so many questions about a picture, each of its own."""
    questions = folder / f"{name}.jsonl"
    picture = str(ROOT / "examples" / "shapes.png")
    lines = [{"prompt": f"{name}: what is in image {number}?", "images": [picture]} for number in range(count)]
    questions.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    done = host.run(
        "batch", str(questions), "-o", str(folder / f"{name}-answers.jsonl"), "--base-url", "http://127.0.0.1:8000/v1",
        "--concurrency", "16", "--max-tokens", "24", seconds=1200,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200)
    found = measure(parser.parse_args().rows)
    print(f"one machine: {found[1]:.2f} rows/s; two: {found[2]:.2f} rows/s; ratio {found[2] / found[1]:.2f}")


if __name__ == "__main__":
    main()
