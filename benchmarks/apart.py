"""Calls a function of the benchmarks in a fresh process, so that no measurement finds what another has loaded."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any


class Failed(RuntimeError):
    """The process did not end well; it has said why on stderr, and this is the last line of it."""


def call(function: str, *arguments: str | int | Path) -> Any:
    """What `module:function` returns, by way of JSON; paths arrive as text.

    Raises Failed.
    """
    command = [sys.executable, "-m", __name__, function, json.dumps(arguments, default=str)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        raise Failed((done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    module, _, name = sys.argv[1].partition(":")
    print(json.dumps(getattr(import_module(module), name)(*json.loads(sys.argv[2]))))


if __name__ == "__main__":
    main()
