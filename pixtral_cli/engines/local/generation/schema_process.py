"""Compiles a schema in a short-lived process with limits of memory and time, so that one that exceeds them is refused.

Run as a module, it is that process: it reads a schema from stdin and prints JSON with `error` and `hint`, both "" if
valid.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from pixtral_cli.errors import UsageError

COMMAND = (sys.executable, "-P", "-m", "pixtral_cli.engines.local.generation.schema_process")
CPU_SECONDS = 5  # of CPU time
WALL_SECONDS = 15.0  # of real time
MEMORY_LIMIT = 512 << 20  # bytes beyond those the process uses before it reads the schema
POLL_INTERVAL = 0.05  # seconds
TOO_COMPLEX = "The schema is too complex: it takes more than {} s or {} MB to prepare"
_processes = threading.Semaphore(2)  # processes at a time


class Cancelled(Exception):
    """The caller cancelled the compilation of a schema."""


def try_schema(schema_json: str, cancelled: threading.Event | None = None) -> None:
    """Check and compile the schema in a process with limits. Raises UsageError, or Cancelled when the event is set."""
    cancelled = cancelled or threading.Event()
    while not _processes.acquire(timeout=POLL_INTERVAL):
        if cancelled.is_set():
            raise Cancelled
    try:
        output = _run(schema_json, cancelled)
    finally:
        _processes.release()
    try:
        report = json.loads(output)
    except ValueError:
        too_complex = TOO_COMPLEX.format(CPU_SECONDS, MEMORY_LIMIT >> 20)
        raise UsageError(too_complex, "Use fewer patterns, references and items") from None
    if report["error"]:
        raise UsageError(report["error"], report["hint"])


def _run(schema_json: str, cancelled: threading.Event) -> bytes:
    """The output of the process; empty if it was killed."""
    with tempfile.TemporaryFile() as file:
        file.write(schema_json.encode())
        file.seek(0)
        process = subprocess.Popen(COMMAND, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    end = time.monotonic() + WALL_SECONDS
    try:
        while time.monotonic() < end:
            if cancelled.is_set():
                raise Cancelled
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.communicate(timeout=POLL_INTERVAL)[0]
        return b""
    finally:
        process.kill()
        process.communicate()


def _set_limits() -> None:
    """Limit the CPU time and, on Linux, the memory of this process. On Windows only the parent's time limit applies.

    Memory is counted from the current use, since libraries reserve some.
    """
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with Path("/proc/self/statm").open(encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_LIMIT, used + MEMORY_LIMIT))


def main() -> None:
    """Compile the schema on stdin under limits and print the report."""
    from pixtral_cli.engines.local.generation import grammar
    from pixtral_cli.structured.schema_check import check

    _set_limits()
    report = {"error": "", "hint": ""}
    try:
        grammar.compile_grammar(check(json.load(sys.stdin)))
    except UsageError as error:
        report = {"error": error.message, "hint": error.hint}
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
