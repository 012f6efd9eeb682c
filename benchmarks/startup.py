"""How long a fresh process takes: medians over interleaved rounds, beside the bare interpreter and `import torch`."""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "shapes.png"

PIXTRAL = (sys.executable, "-m", "pixtral_cli")
COMMANDS: dict[str, tuple[str, ...]] = {
    "python -c pass": (sys.executable, "-c", "pass"),
    "pixtral --version": (*PIXTRAL, "--version"),
    "pixtral --help": (*PIXTRAL, "--help"),
    "python -c 'import torch'": (sys.executable, "-c", "import torch"),
    "pixtral ask --dry-run": (
        *PIXTRAL,
        "ask",
        "What?",
        "--image",
        str(EXAMPLE),
        "-m",
        "demo",
        "--no-stdin",
        "--dry-run",
    ),
    "pixtral ask (demo)": (
        *PIXTRAL,
        "ask",
        "What is in the image?",
        "--image",
        str(EXAMPLE),
        "-m",
        "demo",
        "--no-stdin",
        "-n",
    ),
}


def measure(rounds: int) -> dict[str, float]:
    """Median seconds of each command's whole process."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            times[name].append(_seconds(command))
    return {name: statistics.median(values) for name, values in times.items()}


def _seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began
