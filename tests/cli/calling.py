"""Calls the program as a shell does, in a process of its own."""

import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    status: int
    stdout: str
    stderr: str


def pixtral(*words: str, stdin: str | bytes | None = None) -> Result:
    """`pixtral WORDS…` to its end, with `stdin` piped in or nothing there."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    how = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
    done = subprocess.run([sys.executable, "-m", "pixtral_cli", *words], capture_output=True, check=False, **how)  # type: ignore[call-overload]
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())
