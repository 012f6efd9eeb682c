"""A loop of `pixtral ask --keep-alive`: the first call starts a process, the others find it there."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from pixtral_cli import config
from pixtral_cli.engines import resident
from tests.server.processes import ROOT, pixtral, tidy

PICTURES = sorted((ROOT / "examples").glob("*.png"))
# What `pixtral ask` does, and then whether this process has loaded what a model needs.
ASK = """
import sys
from pixtral_cli.command_line import run
status = run(sys.argv[1:])
print("torch" in sys.modules, file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture(autouse=True)
def stopped() -> Iterator[None]:
    yield
    pixtral("stop")
    tidy()


def ask(*words: str) -> str:
    command = [sys.executable, "-c", ASK, "ask", *words, "-m", "demo", "--keep-alive", "5m", "--no-stdin", "-n", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stderr) == (0, "False\n")
    return done.stdout


def test_a_loop_of_20_over_pictures_loads_the_weights_once() -> None:
    answers: dict[str, set[str]] = {}
    kept = set()
    for number in range(20):
        shown = str(PICTURES[number % len(PICTURES)])
        answers.setdefault(shown, set()).add(ask("What is this?", "--image", shown))
        kept |= {status["pid"] for _, status in resident.running_workers(resident.socket_folder(config.paths().state))}
    assert len(kept) == 1  # one process from the first to the last, and none of the 20 has loaded anything itself
    assert len(answers) == len(PICTURES)
    assert all(len(said) == 1 and said != {""} for said in answers.values())
    assert len(set.union(*answers.values())) == len(PICTURES)
