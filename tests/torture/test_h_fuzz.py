"""Torture H: inputs that nobody has thought of, for everything that reads what others wrote."""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.torture import fuzz

TARGETS = ("image", "params", "tekken", "safetensors", "request", "event", "shorthand", "typed")
SECONDS = 12  # a target


@pytest.fixture(scope="module", autouse=True)
def tidy() -> None:
    yield
    shutil.rmtree(fuzz.SAMPLES, ignore_errors=True)


@pytest.mark.parametrize("target", TARGETS)
def test_changed_samples_raise_nothing_but_the_errors_that_are_documented(target: str) -> None:
    one, samples = fuzz.tried(target)
    chance = random.Random(1)
    for _ in range(40 if target == "tekken" else 300):
        one(fuzz.changed(chance.choice(samples), chance, samples))


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_inputs_that_are_looked_for_raise_nothing_but_the_errors_that_are_documented(target: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture.fuzz", target, str(SECONDS)],
        capture_output=True, text=True, timeout=60 + 20 * SECONDS, env={**os.environ, "RUST_BACKTRACE": "0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    for folder in Path(tempfile.gettempdir()).glob("pixtral-fuzz-*"):
        shutil.rmtree(folder, ignore_errors=True)
