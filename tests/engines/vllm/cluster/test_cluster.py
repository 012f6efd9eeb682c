"""`pixtral join` and `--nodes` over a program that looks like vLLM: who joins, who is refused, what is started, what ends.

The machines are processes on the loopback with a home each; tests/engines/vllm/test_hosts.py has real ones.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.engines import resident
from pixtral_cli.models.names import demo_folder
from tests.engines.vllm.test_engine import PROGRAM
from tests.server.processes import ROOT, gone, until

TOKEN = "token-of-the-test"
ASK = ("ask", "Hello?", "--no-log", "--no-stdin")
VLLM = ("--model", "demo", "--engine", "vllm")


@dataclass
class Machine:
    """A machine with a home of its own; what it runs says what it does in a file."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)
    running: list["Running"] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PIXTRAL_HOME": str(self.home), **self.env}

    def start(self, *words: str) -> "Running":
        self.home.mkdir(exist_ok=True)
        log = self.home / f"said-{len(self.running)}"
        with log.open("wb") as stream:
            command = [sys.executable, "-m", "pixtral_cli", *words]
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        self.running.append(Running(process, log))
        return self.running[-1]

    def join(self, port: int, rank: int, *more: str, token: str = TOKEN) -> "Running":
        return self.start("join", f"127.0.0.1:{port}", "--rank", str(rank), "--token", token, *more)

    def end(self) -> None:
        for one in self.running:
            if one.process.poll() is None:
                one.process.send_signal(signal.SIGINT)
        for one in self.running:
            one.process.wait(120)
        run = resident.socket_folder(self.home / "state")
        until(lambda: not list(run.glob("*.vllm")))
        shutil.rmtree(run, ignore_errors=True)


@dataclass
class Running:
    """A process, and what it has said since `forget`."""

    process: "subprocess.Popen[bytes]"
    log: Path
    forgotten: int = 0

    @property
    def said(self) -> str:
        return self.log.read_bytes()[self.forgotten :].decode(errors="replace")

    def forget(self) -> None:
        self.forgotten = self.log.stat().st_size

    def says(self, words: str, seconds: float = 120) -> None:
        with suppress(AssertionError):
            until(lambda: words in self.said or self.process.poll() is not None, seconds)
        assert words in self.said, self.said

    def ends(self, status: int) -> str:
        assert self.process.wait(120) == status, self.said
        return self.said


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[list[Machine]]:
    """Three machines with a vLLM that looks like one. Afterwards nothing of them runs."""
    with three_machines(tmp_path) as found:
        yield found


def looks_like_vllm(folder: Path) -> dict[str, str]:
    """The environment of machines whose vLLM tells in `folder` how it was called, and waits there while it has a gate."""
    script = folder / "vllm"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{PROGRAM}" "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    (folder / "told").mkdir()
    return {
        "PIXTRAL_VLLM": str(script), "FAKE_VLLM_TOLD": str(folder / "told"), "FAKE_VLLM": "",
        "PIXTRAL_JOIN_TOKEN": TOKEN, "FAKE_VLLM_GATE": str(folder / "gate"),
    }  # fmt: skip


@contextmanager
def three_machines(folder: Path) -> Iterator[list[Machine]]:
    """Machines whose vLLM tells in `folder` how it was called, and waits there where it is told to."""
    env = looks_like_vllm(folder)
    found = [Machine(folder / name, dict(env)) for name in ("one", "two", "three")]
    yield found
    (folder / "gate").unlink(missing_ok=True)
    for machine in found:
        machine.end()
    pids = [one[key] for one in started(folder) for key in ("pid", "worker")]
    until(lambda: all(map(gone, pids)))


@pytest.fixture
def port() -> int:
    return free_port()


def free_port() -> int:
    """A free port, like those that are counted from it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return min(int(taken.getsockname()[1]), 65_000)


def started(folder: Path) -> list[dict[str, Any]]:
    """How each vLLM was called, in the order of their replicas and parts."""
    told = [json.loads(file.read_text(encoding="utf-8")) for file in (folder / "told").glob("*.json")]
    return sorted(told, key=lambda one: (option(one, "--node-rank"), option(one, "--port")))


def option(told: dict[str, Any], name: str) -> str:
    argv: Sequence[str] = told["argv"]
    return argv[argv.index(name) + 1] if name in argv else ""


def cluster(port: int, *more: str, nodes: int = 2) -> tuple[str, ...]:
    return (*VLLM, "--nodes", str(nodes), "--coordinator", f"127.0.0.1:{port}", *more)


def test_two_machines_answer_as_two_replicas_and_end_together(
    machines: list[Machine], tmp_path: Path, port: int
) -> None:
    first, second, _ = machines
    joined = second.join(port, 1)
    said = first.start(*ASK, *cluster(port)).ends(0)
    assert said.startswith(f"On machine 2 of 2: pixtral join 127.0.0.1:{port} --rank 1\n")
    assert TOKEN not in said  # it is in the environment, and need not be typed
    assert "Rank 1 has joined" in said
    assert "demo sees 0 pictures" in said
    assert "Joined" in joined.ends(0)
    assert "The first machine has ended, and this one with it" in joined.said
    here, there = started(tmp_path)
    assert option(here, "--uds")
    assert (option(there, "--host"), option(there, "--port")) == ("127.0.0.1", str(port + 102))
    for one in (here, there):
        assert one["env"]["VLLM_HOST_IP"] == "127.0.0.1"
        assert one["env"]["GLOO_SOCKET_IFNAME"] == "lo"
        assert one["env"]["VLLM_API_KEY"] not in " ".join(one["argv"])
    assert here["env"]["VLLM_API_KEY"] != there["env"]["VLLM_API_KEY"]


def test_a_model_over_two_machines_is_one_vllm_in_two_parts(machines: list[Machine], tmp_path: Path, port: int) -> None:
    first, second, _ = machines
    second.join(port, 1)
    more = ("--tensor-parallel-size", "2", "--vllm-args", "--max-model-len 4096", "--dtype", "float32")
    assert "demo sees 0 pictures" in first.start(*ASK, *cluster(port, *more)).ends(0)
    for rank, one in enumerate(started(tmp_path)):
        line = " ".join(one["argv"])
        assert f"--nnodes 2 --node-rank {rank} --master-addr 127.0.0.1 --master-port {port + 1}" in line
        assert "--tensor-parallel-size 2" in line
        assert "--dtype float32" in line
        assert "--max-model-len 4096" in line
        assert ("--headless" in line) == (rank == 1)


def test_replicas_on_one_machine_need_nobody_to_join(machines: list[Machine], tmp_path: Path) -> None:
    first, *_ = machines
    assert "demo sees 0 pictures" in first.start(*ASK, *VLLM, "--replicas", "2").ends(0)
    both = started(tmp_path)
    assert len(both) == 2
    cores = [one["env"]["VLLM_CPU_OMP_THREADS_BIND"] for one in both]
    assert len(set(cores)) == 2 or len(os.sched_getaffinity(0)) == 1


def test_who_does_not_belong_is_refused_and_named_on_both_machines(
    machines: list[Machine], tmp_path: Path, port: int
) -> None:
    first, second, third = machines
    asking = first.start(*ASK, *cluster(port, nodes=3))
    asking.says("--rank 2")
    stranger = second.join(port, 1, token="guessed")
    assert "The token is not the first machine's" in stranger.ends(5)
    asking.says("127.0.0.1 is refused: its token is wrong")
    assert "There is no rank 3 among 3 machines" in second.join(port, 3).ends(2)
    other = tmp_path / "other"
    shutil.copytree(demo_folder(), other)
    (other / "params.json").write_text((other / "params.json").read_text(encoding="utf-8") + "\n", encoding="utf-8")
    different = second.join(port, 1, "-m", str(other))
    assert "its params.json differs from the first machine" in different.ends(4)
    asking.says("its params.json differs from")
    second.env["FAKE_VLLM_VERSION"] = "0.33.1"
    assert "has vllm 0.33.1, and the first machine 0.32.0" in second.join(port, 1).ends(2)
    asking.says("has vllm 0.33.1")
    del second.env["FAKE_VLLM_VERSION"]
    second.join(port, 1).says("Joined")
    assert "Rank 1 is taken by" in third.join(port, 1).ends(2)
    assert not started(tmp_path)  # nothing was loaded so far
    third.join(port, 2)
    assert "demo sees 0 pictures" in asking.ends(0)


def test_machines_that_do_not_come_are_named_after_the_time_given(
    machines: list[Machine], tmp_path: Path, port: int
) -> None:
    first, second, _ = machines
    joined = second.join(port, 1)
    said = first.start(*ASK, *cluster(port, "--join-timeout", "8s", nodes=3)).ends(5)
    assert "2 of 3 machines are there: rank 2 has not joined within 8 s" in said
    assert joined.ends(0)
    assert not started(tmp_path)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--nodes", "2", "--tensor-parallel-size", "5"), "do not divide among 5 GPUs"),
        (("--nodes", "3", "--replicas", "2"), "2 replicas do not divide among 3 machines"),
        (("--nodes", "2", "--ray", "auto"), "Use one"),
        (("--nodes", "2", "--coordinator", "host:x"), "is not HOST:PORT"),
        (("--nodes", "2", "--join-timeout", "soon"), "--join-timeout must be a duration"),
        (("--replicas", "2", "--vllm-args", "--nnodes 2"), "--nnodes is for pixtral to choose"),
        (("--nodes", "0",), "nodes"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_anything_listens(
    machines: list[Machine], more: tuple[str, ...], why: str
) -> None:
    said = machines[0].start(*ASK, *VLLM, *more).ends(2)
    assert said.count("\n") == 1
    assert why in said


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("127.0.0.1", "--rank", "1"), "token"),
        (("127.0.0.1:x", "--rank", "1", "--token", "t"), "is not HOST:PORT"),
        (("127.0.0.1", "--rank", "0", "--token", "t"), "rank"),
        (("127.0.0.1", "--token", "t"), "rank"),
        (("127.0.0.1", "--rank", "1", "--token", "t", "--wait", "x"), "--wait must be a duration"),
    ],
)
def test_a_join_that_makes_no_sense_is_refused(machines: list[Machine], words: tuple[str, ...], why: str) -> None:
    machines[0].env["PIXTRAL_JOIN_TOKEN"] = ""
    said = machines[0].start("join", *words).ends(2)
    assert said.count("\n") == 1
    assert why in said.lower() or why in said


def test_a_first_machine_that_is_not_there_is_waited_for_and_named(machines: list[Machine], port: int) -> None:
    said = machines[0].join(port, 1, "--wait", "2s").ends(5)
    assert f"Nothing listens at 127.0.0.1:{port}" in said
    assert "trying for 2 s" in said


def test_another_server_at_the_address_is_told_apart(machines: list[Machine]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        machine = machines[0].join(other.getsockname()[1], 1, "--wait", "1s")
        connection, _ = other.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        assert "is not a pixtral that machines join" in machine.ends(2)
        connection.close()


def test_taken_ports_are_named(machines: list[Machine], port: int) -> None:
    first, second, _ = machines
    with socket.create_server(("127.0.0.1", port)):
        said = first.start(*ASK, *cluster(port)).ends(1)
    assert f"127.0.0.1:{port}, where machines are to join, is in use" in said
    with socket.create_server(("127.0.0.1", port + 102)):
        joined = second.join(port, 1)
        said = first.start(*ASK, *cluster(port)).ends(1)
    assert f"Port {port + 102} on 127.0.0.1 is taken by another program" in said
    assert "On rank 1" in said
    assert joined.ends(0)


def test_what_keeps_one_machine_from_starting_ends_all_with_its_reason(machines: list[Machine], port: int) -> None:
    first, second, _ = machines
    second.env["FAKE_VLLM"] = "oom"
    joined = second.join(port, 1)
    said = first.start(*ASK, *cluster(port)).ends(7)
    assert "ran out of memory" in said
    assert "On rank 1" in said
    assert str(second.home / "state" / "vllm") in said  # its log, which is there
    assert joined.ends(0)
