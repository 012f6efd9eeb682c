"""Runs a program that a model wrote, in a child process with limited time and memory. Not a sandbox: see --allow-exec."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import tempfile

from pixtral_cli.chat.codeblocks import blocks

TIMEOUT = 10
MEMORY_LIMIT = 2 << 30
_LIMITS = (
    "import resource\n"
    "import ctypes; ctypes.CDLL(None).prctl(1, 9)\n"  # PR_SET_PDEATHSIG: it ends with the thread that waits for it
    f"resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_LIMIT}, {MEMORY_LIMIT}))\n"
    f"resource.setrlimit(resource.RLIMIT_CPU, ({TIMEOUT}, {TIMEOUT}))\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
)


def build_program(prompt: str, answer: str, test: str, entry_point: str) -> str:
    """The program to run: the prompt's imports, the answer's code (its code block, else all of it), and the test."""
    shown = [block.text for block in blocks(answer)]
    code = next((one for one in shown if f"def {entry_point}" in one), shown[0] if shown else answer)
    body = code if f"def {entry_point}" in code else prompt + code
    imports = prompt.split(f"def {entry_point}")[0]
    return f"{imports}\n{body}\n{test}\ncheck({entry_point})\n"


def program_passes(code: str) -> bool:
    """Whether a program runs to its end, where it prints a random word."""
    limits = _LIMITS if sys.platform == "linux" else ""
    word = secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", limits + "import sys; exec(compile(sys.stdin.read(), 'answer', 'exec'), {})"],
            cwd=folder, env={"PATH": os.defpath, "HOME": folder}, start_new_session=True, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            said, _ = process.communicate(f"{code}\nprint({word!r})\n", timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            return False
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode == 0 and said.rstrip().endswith(word)
