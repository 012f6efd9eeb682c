"""Servers in processes of their own, for what only a process can show: signals, deaths, exit statuses."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2

from pixtral_cli import config
from pixtral_cli.engines import resident

ROOT = Path(__file__).parents[2]


@contextmanager
def launched(module: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
        tidy()


def pixtral(*arguments: str, given: str = "", seconds: float = 240) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pixtral_cli", *arguments]
    try:
        return subprocess.run(
            command, cwd=ROOT, input=given, capture_output=True, text=True, timeout=seconds, check=False
        )
    finally:
        tidy()


def tidy() -> None:
    """The test's home has a long path, so its sockets' folder lies elsewhere."""
    with suppress(OSError):
        resident.socket_folder(config.paths().state).rmdir()


@contextmanager
def faked(state: Path) -> Iterator[tuple["subprocess.Popen[str]", httpx2.Client]]:
    """A server over `fake_child`, ready to answer, and a client of it."""
    with launched("tests.server.launch_fake", str(state)) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        assert url, process.communicate()
        with httpx2.Client(base_url=url, timeout=120, trust_env=False) as client:
            yield process, client
    until(lambda: not list(resident.socket_folder(state).glob("*.sock")))
    shutil.rmtree(resident.socket_folder(state), ignore_errors=True)  # what ends may just be removing a file of its own


def children(state: Path) -> Sequence[int]:
    return [status["pid"] for _, status in resident.running_workers(resident.socket_folder(state))]


def until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Ended, whether or not its parent has asked for its status yet."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # the second: it ended between the opening and the reading
        return True
    return stat.rsplit(")", 1)[1].split()[0] == "Z"
