"""Runs pixtral as on a system without Unix's modules and calls: `python tests/no_unix.py ARGUMENTS`.

What pixtral's own code imports or calls of them is missing; Python and its libraries keep theirs.
"""

import builtins
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import psutil  # noqa: F401  (it has a way of its own for each system)

MODULES = {"resource", "pwd", "grp"}  # fcntl, termios and tty are imported behind `sys.platform` alone
CALLS = (
    "sysconf",
    "getuid",
    "geteuid",
    "fork",
    "killpg",
    "sched_getaffinity",
    "setsid",
    "getpgid",
    "mkfifo",
    "posix_fadvise",
)

original = builtins.__import__


def hidden(name: str, globals: dict[str, Any] | None = None, *rest: Any, **more: Any) -> Any:
    if name.partition(".")[0] in MODULES and str((globals or {}).get("__name__", "")).startswith("pixtral_cli"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return original(name, globals, *rest, **more)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parent.parent)
    builtins.__import__ = hidden
    for call in CALLS:
        if hasattr(os, call):
            delattr(os, call)
    sys.argv = ["pixtral", *sys.argv[1:]]
    runpy.run_module("pixtral_cli", run_name="__main__", alter_sys=False)
