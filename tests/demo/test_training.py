"""A run as it is started by hand: two processes, a state to go on from, an export that the engine loads."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import chdir
from pathlib import Path
from random import Random

import pytest
import torch

from demo.curve import plot
from demo.drawing import fonts
from demo.encoding import draw_batch
from demo.errors import DemoError
from demo.evaluate import examine
from demo.gpu import pack
from demo.heads import fit
from demo.objective import losses
from demo.tokenizer import Tokenizer
from demo.train import Plan, build
from demo.twin import Shape, Twin
from pixtral_cli.engines.local.engine import LocalEngine


def start(folder: Path, *more: str) -> "subprocess.Popen[bytes]":
    root = Path(__file__).parents[2]
    command = [
        sys.executable,
        "-m",
        "demo.train",
        "--name",
        "small",
        "--batch",
        "2",
        "--batches",
        "1",
        "--minutes",
        "30",
        *more,
    ]
    return subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(root)})


def wait_for(path: Path, process: "subprocess.Popen[bytes]", seconds: float = 900) -> None:
    until = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, "training ended"
        assert time.monotonic() < until, f"no {path}"
        time.sleep(0.2)


@pytest.mark.slow
def test_a_run_is_ended_by_sigterm_goes_on_where_it_was_and_exports_what_the_engine_loads(
    cut: Path, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "small"
    run.mkdir(parents=True)
    (run / "tekken.json").write_bytes((cut / "tekken.json").read_bytes())
    process = start(tmp_path)
    wait_for(run / "log.jsonl", process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(900) == 0
    steps = json.loads((run / "log.jsonl").read_text().splitlines()[-1])["step"]
    assert steps >= 20
    process = start(tmp_path, "--evaluate-every", "0.01")
    before = (run / "state.pt").stat().st_mtime_ns
    while (run / "state.pt").stat().st_mtime_ns == before:
        assert process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(900) == 0
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert entries[-1]["step"] > steps
    plot(entries, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    answers = examine(LocalEngine(run / "export", device="cpu"), ["talk"], 2)
    assert len(answers["talk"]) >= 2


def test_a_run_is_started_from_another_with_the_heads_that_an_export_lacks(cut: Path, tmp_path: Path) -> None:
    small = Shape(layers=1, vision_layers=1)
    earlier = Twin(small, Tokenizer(cut).size)
    torch.save({"average": earlier.state_dict()}, tmp_path / "state.pt")
    shutil.copy(cut / "tekken.json", tmp_path)
    plan = Plan("next", 1.0, 1e-3, 2, 1, 1.0, tmp_path, "cpu", small)
    shutil.copytree(cut, tmp_path / plan.folder)
    with chdir(tmp_path):
        begun, new_heads = build(plan, Tokenizer(cut).size)
    assert not new_heads
    for name, weight in earlier.state_dict().items():
        assert torch.equal(begun.state_dict()[name], weight), name


def test_new_heads_tell_what_the_features_hold_and_nothing_else_is_changed(tokenizer: Tokenizer) -> None:
    twin = Twin(Shape(layers=2, vision_layers=1), tokenizer.size)
    before = {name: weight.clone() for name, weight in twin.state_dict().items()}
    batches = [draw_batch(Random(seed), tokenizer, 2, "view") for seed in range(3)]
    with torch.no_grad():
        first = sum(losses(twin, batch).auxiliary.item() for batch in batches)
    fit(twin, batches)
    with torch.no_grad():
        assert sum(losses(twin, batch).auxiliary.item() for batch in batches) < 0.7 * first
    changed = {name for name, weight in twin.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {f"aux_{head}.{part}" for head in ("patch", "place") for part in ("weight", "bias")}


def test_a_run_is_packed_with_the_typefaces_that_another_machine_lacks(
    cut: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "state.pt").write_bytes(b"state")
    shutil.copy(cut / "tekken.json", run)
    monkeypatch.setattr(fonts, "check", lambda: None)
    assert pack(run, tmp_path / "packed") == sum(
        file.stat().st_size for file in (tmp_path / "packed").rglob("*") if file.is_file()
    )
    assert list((tmp_path / "packed" / "fonts").iterdir())
    with chdir(tmp_path), pytest.raises(DemoError):
        pack(tmp_path / "packed", tmp_path / "again")
