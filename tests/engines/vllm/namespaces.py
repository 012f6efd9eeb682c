"""Two machines on one: network namespaces joined by a veth pair. Needs root, or the right to make namespaces."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.server.processes import ROOT, gone, until


@dataclass
class Host:
    """One of the two: its namespace, address, interface, and its own home for pixtral."""

    namespace: str
    address: str
    interface: str
    home: Path
    env: dict[str, str] = field(default_factory=dict)
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        return {**os.environ, "PIXTRAL_HOME": str(self.home), **self.env, **(more or {})}

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> "Running":
        """`pixtral WORDS…` here, in the background; what it says goes to a file."""
        log = self.home / f"said-{len(self.processes)}"
        self.home.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stream:
            process = subprocess.Popen(
                self._command(words), cwd=ROOT, env=self.environment(env), stdin=subprocess.DEVNULL, stdout=stream,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return Running(process, log)

    def run(self, *words: str, seconds: float = 300) -> "subprocess.CompletedProcess[str]":
        """`pixtral WORDS…` here, to its end."""
        return subprocess.run(
            self._command(words), cwd=ROOT, env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=seconds, check=False,
        )  # fmt: skip

    def get(self, url: str) -> str:
        """The body at a URL, asked for from here."""
        code = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=20).read().decode())"
        command = ["ip", "netns", "exec", self.namespace, sys.executable, "-c", code, url]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout

    def link(self, state: str) -> None:
        """Set the cable `up` or `down`."""
        _ip("-n", self.namespace, "link", "set", self.interface, state)

    def lose_packets_to(self, other: "Host") -> None:
        """From now on what is sent to the other host is lost without an error: it goes to a hardware address of nobody."""
        _ip("-n", self.namespace, "neigh", "replace", other.address, "lladdr", "02:00:00:00:00:99",
            "dev", self.interface, "nud", "permanent")  # fmt: skip

    def reach(self, other: "Host") -> None:
        """Undo `lose_packets_to`."""
        _ip("-n", self.namespace, "neigh", "del", other.address, "dev", self.interface)

    def open_ports(self) -> set[int]:
        """The TCP ports here that other machines can connect to."""
        command = ["ip", "netns", "exec", self.namespace, "ss", "--listening", "--tcp", "--numeric", "--no-header"]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        addresses = [line.split()[3].rsplit(":", 1) for line in lines]
        return {int(port) for host, port in addresses if not host.startswith(("127.", "[::1]"))}

    def pids(self, part_of_command: str) -> list[int]:
        """The processes here whose command line or name has this in it."""
        found = []
        for pid in _ip("netns", "pids", self.namespace).split():
            with suppress(OSError):
                if part_of_command in Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace"):
                    found.append(int(pid))
        return found

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, sys.executable, "-m", "pixtral_cli", *words]

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(45)
        for pid in _ip("netns", "pids", self.namespace, check=False).split():
            with suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
        until(lambda: all(gone(int(pid)) for pid in _ip("netns", "pids", self.namespace, check=False).split()))


@dataclass(frozen=True)
class Running:
    """A pixtral that runs, and the file of what it says."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def says(self, words: str, seconds: float = 240) -> None:
        """Wait until it has said this."""

        def said_or_ended() -> bool:
            assert self.process.poll() is None or words in self.said, self.said
            return words in self.said

        try:
            until(said_or_ended, seconds)
        except AssertionError as error:
            raise AssertionError(f"{words!r} was not said:\n{self.said}") from error


def _ip(*words: str, check: bool = True) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=check).stdout


@contextmanager
def two_hosts(folder: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts, 10.77.0.1 and 10.77.0.2, that reach each other and nothing else. Afterwards nothing of them runs."""
    if not shutil.which("ip"):
        _skip("there is no `ip`")
    mark = secrets.token_hex(2)
    hosts = [Host(f"pix{mark}{side}", f"10.77.0.{number}", f"v{mark}{side}", folder / side)
             for number, side in ((1, "a"), (2, "b"))]  # fmt: skip
    try:
        _ip("netns", "add", hosts[0].namespace)
    except subprocess.CalledProcessError as error:
        _skip(f"no network namespace can be made: {str(error.stderr).strip()}")
    try:
        _ip("netns", "add", hosts[1].namespace)
        _ip("link", "add", hosts[0].interface, "type", "veth", "peer", "name", hosts[1].interface)
        for host in hosts:
            _ip("link", "set", host.interface, "netns", host.namespace)
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", host.interface)
            _ip("-n", host.namespace, "link", "set", "lo", "up")
            host.link("up")
        yield hosts[0], hosts[1]
    finally:
        for host in hosts:
            host.end()
            _ip("netns", "del", host.namespace, check=False)
            _ip("link", "del", host.interface, check=False)


def _skip(why: str) -> None:
    warnings.warn(f"SEVERAL MACHINES WERE NOT TESTED: {why}", stacklevel=2)
    pytest.skip(f"SEVERAL MACHINES WERE NOT TESTED: {why}")
