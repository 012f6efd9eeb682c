"""The script for a machine with a GPU runs whole on this one, in small, and says what is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import on_gpu

ROOT = Path(__file__).parents[2]
MEASURED = (
    "machine",
    "products",
    "attention",
    "decode attention",
    "demo",
    "decode pixtral-12b 4bit",
    "decode ministral-3b fp8",
    "prefill pixtral-12b",
    "long context",
    "loading",
)


@pytest.mark.slow
def test_every_step_runs_in_small(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    command = [sys.executable, "-m", "benchmarks.on_gpu", "--out", str(out), "--device", "cpu", "--small"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    found = json.loads(out.read_text())
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "all right"), done.stderr[-2000:]
    assert not [name for name in MEASURED if "error" in found[name] or "skipped" in found[name]]
    assert found["decode pixtral-12b 4bit"]["bytes_read"] < found["decode pixtral-12b none"]["bytes_read"] / 2
    assert all(found["demo"]["equal_answers"]["cpu fp32"].values())


def test_a_failed_step_is_recorded_and_the_next_one_begins(tmp_path: Path) -> None:
    bench = on_gpu.Bench(torch.device("cpu"), tmp_path / "found.json", deadline=1e12, small=True)
    bench.step("bad", lambda _: 1 / 0)  # type: ignore[arg-type]
    bench.step("good", lambda _: {"right": True})
    bench.deadline = 0
    bench.step("late", lambda _: {"right": True})
    found = json.loads(bench.out.read_text())
    assert found["bad"]["error"].startswith("ZeroDivisionError")
    assert found["good"]["right"] is True
    assert found["late"] == {"skipped": "past the deadline"}
