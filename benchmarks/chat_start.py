"""How long it takes from Enter to the prompt of `pixtral chat`, in a terminal."""

import os
import pty
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence

NAME = "pixtral chat, to its prompt"
COMMAND = (sys.executable, "-m", "pixtral_cli", "chat", "-m", "demo")
PROMPT = b"> "
PATIENCE = 60.0


def measure(rounds: int) -> dict[str, float]:
    """Median seconds, under the name that the table of start-up gives it."""
    with tempfile.TemporaryDirectory() as home:
        seconds(COMMAND, home)  # once unmeasured: what Python compiles is compiled then
        return {NAME: statistics.median(seconds(COMMAND, home) for _ in range(rounds))}


def seconds(command: Sequence[str], home: str) -> float:
    """From the start of a process to the first prompt that its terminal shows."""
    env = {**os.environ, "PIXTRAL_HOME": home, "TERM": "xterm-256color"}
    began = time.perf_counter()
    child, terminal = pty.fork()
    if not child:
        os.execve(command[0], list(command), env)
    shown = b""
    while PROMPT not in shown and time.perf_counter() < began + PATIENCE:
        shown += os.read(terminal, 65536)
    took = time.perf_counter() - began
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(terminal)
    if PROMPT not in shown:
        raise RuntimeError(f"no prompt came: {shown!r}")
    return took
