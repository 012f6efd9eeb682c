"""The parent process of `vllm serve`, which stops it and all its children when pixtral ends or asks for it.

A script of the standard library only. pixtral asks by closing the script's stdin.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path


def main() -> int:
    """`guard.py SECONDS SOCKET COMMAND…`; returns the command's exit status, 128 + N for signal N."""
    seconds, socket, *command = sys.argv[1:]
    for name in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_default_signals)
    threading.Thread(target=_stop_with_parent, args=(process.pid, float(seconds)), daemon=True).start()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # not reaped yet, so that the process group still exists
    _signal(process.pid, signal.SIGKILL)
    status = process.wait()
    with contextlib.suppress(OSError):
        Path(socket).unlink()
    return status if status >= 0 else 128 - status


def _default_signals() -> None:
    """Restore the signals that the guard ignores."""
    for name in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(name, signal.SIG_DFL)


def _stop_with_parent(group: int, seconds: float) -> None:
    """When stdin is closed, send SIGTERM to the process, and SIGKILL to its group after `seconds`."""
    while os.read(0, 1024):
        pass
    with contextlib.suppress(ProcessLookupError):
        os.kill(group, signal.SIGTERM)
    threading.Event().wait(seconds)
    _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    """Send a signal to a process group, if it still exists."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main())
