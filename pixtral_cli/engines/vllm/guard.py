"""Stands between us and `vllm serve`: ends it, with all it started, when we ask or have gone, however we went.

Run as a file, with the standard library alone. Our end of its stdin is the leash.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path


def main() -> int:
    """`guard.py SECONDS SOCKET COMMAND…`: its exit status is the command's, 128 and more for a signal."""
    seconds, socket, *command = sys.argv[1:]
    for name in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_default_signals)
    threading.Thread(target=_stop_with_parent, args=(process.pid, float(seconds)), daemon=True).start()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # not reaped yet: its number is still its group's
    _signal(process.pid, signal.SIGKILL)
    status = process.wait()
    with contextlib.suppress(OSError):
        Path(socket).unlink()
    return status if status >= 0 else 128 - status


def _default_signals() -> None:
    """Signals that the guard ignores must reach what it starts."""
    for name in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(name, signal.SIG_DFL)


def _stop_with_parent(group: int, seconds: float) -> None:
    """When the other end of stdin closes, ask the command to end; in so many seconds it has."""
    while os.read(0, 1024):
        pass
    with contextlib.suppress(ProcessLookupError):
        os.kill(group, signal.SIGTERM)
    threading.Event().wait(seconds)
    _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main())
