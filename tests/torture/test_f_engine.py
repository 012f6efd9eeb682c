"""TORTURE F, the engine's half: what a model can meet that is too long, too large or broken (61, 62; 51 while it computes)."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.errors import ContextError, ModelError, OutOfMemory
from pixtral_cli.images.image import Image
from tests.engines.local.checkpoints import Sizes, build, image
from tests.torture.test_d_terminal import spent

GREEDY = Sampling(temperature=0, max_tokens=8)


def without_weights(folder: Path) -> LocalEngine:
    """Whoever touches its weights gets a ModelError."""
    build(folder, Sizes(image=1024))
    (folder / "consolidated.safetensors").unlink()
    return LocalEngine(folder)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([user("a" * 130_000 + " b" * 128_000)], id="128K+1 tokens"),
        pytest.param([user(" " * 1_000_000)], id="1M spaces"),
        pytest.param([user("", [Image(b"", "x", "PNG", 1024, 1024, str(n)) for n in range(31)])], id="31 images"),
    ],
)
def test_61_what_cannot_fit_is_refused_before_the_weights_are_touched(tmp_path: Path, said: list) -> None:
    with pytest.raises(ContextError) as caught:
        list(without_weights(tmp_path).stream(said, GREEDY))
    assert caught.value.status == 6
    assert len(caught.value.message) <= 120


def test_62_forced_out_of_memory_is_exit_7_and_the_next_question_is_answered(tmp_path: Path) -> None:
    free = [1 << 40]
    engine = LocalEngine(build(tmp_path), device="cpu", available=lambda _: free[0])
    expected = [chunk.text for chunk in engine.stream([user("hi")], GREEDY)]
    free[0] = 1000
    with pytest.raises(OutOfMemory) as caught:
        list(engine.stream([user("word " * 1000, [image(90, 90)])], GREEDY))
    assert caught.value.status == 7
    assert "GiB" in caught.value.message or "MiB" in caught.value.message
    free[0] = 1 << 40
    assert [chunk.text for chunk in engine.stream([user("hi")], GREEDY)] == expected


def test_62_nan_weights_are_exit_4(tmp_path: Path) -> None:
    build(tmp_path)
    state = load_file(tmp_path / "consolidated.safetensors")
    state["layers.0.attention.wq.weight"][3, 3] = torch.nan
    save_file(state, tmp_path / "consolidated.safetensors")
    with pytest.raises(ModelError, match=r"layers\.0\.attention\.wq") as caught:
        list(LocalEngine(tmp_path).stream([user("hi")], GREEDY))
    assert caught.value.status == 4


CHILD = """
import sys, time
from pathlib import Path
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.engine import LocalEngine
phase, folder = sys.argv[1:]
engine = LocalEngine(Path(folder), device="cpu", prefill_chunk=16)

def answer(engine):
    return [chunk.text for chunk in engine.stream([user("hi")], Sampling(temperature=0, max_tokens=5))]

try:
    if phase == "load":
        print("now", flush=True)
    engine.load()
    if phase == "prefill":
        print("now", flush=True)
    for chunk in engine.stream([user("word " * 3000)], Sampling(temperature=0)):
        if phase == "decode":
            print("now", flush=True)
            phase = ""
except KeyboardInterrupt:
    print(time.process_time(), flush=True)
    print(answer(engine) == answer(LocalEngine(Path(folder), device="cpu")))
"""


@pytest.mark.parametrize(("phase", "after"), [("load", 0.0), ("load", 0.4), ("prefill", 0.1), ("decode", 0.1)])
def test_51_ctrl_c_stops_the_computing_at_once_and_the_next_answer_is_right(
    tmp_path: Path, phase: str, after: float
) -> None:
    build(tmp_path, Sizes(layers=6, dim=128), seed=3)
    command = [sys.executable, "-c", CHILD, phase, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stderr
        assert child.stdout.readline() == "now\n"
        time.sleep(after)  # to come in the middle of it
        before = spent(child)
        os.kill(child.pid, signal.SIGINT)
        assert float(child.stdout.readline()) - before < 1  # of its own computing: the machine may be busy
        assert child.stdout.readline() == "True\n"
        assert child.stderr.read() == ""
        assert child.wait(120) == 0
