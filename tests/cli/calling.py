"""Calls the program as a shell does, in a process of its own."""

import subprocess
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    status: int
    stdout: str
    stderr: str


def pixtral(*words: str, stdin: bytes | None = None) -> Result:
    """`pixtral WORDS…` to its end, with `stdin` piped in or nothing there."""
    command = [sys.executable, "-m", "pixtral_cli", *words]
    done = subprocess.run(command, input=stdin or b"", capture_output=True, check=False)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())
