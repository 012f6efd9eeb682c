"""Tries a schema in a short-lived process with limits of memory and time: one that is built to exhaust them ends only that process.

Run as a module it is that process: a schema on stdin, JSON with the error or without one on stdout.
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
CPU_SECONDS = 5
WALL_SECONDS = 15.0
MEMORY_LIMIT = 512 << 20  # bytes beyond what the process takes before it reads the schema
POLL_INTERVAL = 0.05
TOO_COMPLEX = "The schema is too complex: it takes more than {} s or {} MB to prepare"
_processes = threading.Semaphore(2)  # at a time


class Cancelled(Exception):
    """Nobody waits for the schema any more."""


def try_schema(schema_json: str, cancelled: threading.Event | None = None) -> None:
    """Check and compile the schema in a process of its own. Raises UsageError, or Cancelled once the event is set."""
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


def _limit() -> None:
    """Take the process's limits. Memory is counted from here, for every library reserves some.

    On Windows there is the parent's time limit alone.
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
    from pixtral_cli.engines.local.generation import grammar
    from pixtral_cli.structured.schema_check import check

    _limit()
    report = {"error": "", "hint": ""}
    try:
        grammar.compile_grammar(check(json.load(sys.stdin)))
    except UsageError as error:
        report = {"error": error.message, "hint": error.hint}
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
