"""Runs on each machine: starts, observes and stops the vLLMs that the first machine has assigned."""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pixtral_cli.engines.vllm.checkpoint_folder import prepare_checkpoint
from pixtral_cli.engines.vllm.cluster.assignment import Assignment, PartReport
from pixtral_cli.engines.vllm.cluster.machine import Machine
from pixtral_cli.engines.vllm.cluster.network import check_free
from pixtral_cli.engines.vllm.command import VllmOptions, build_command, build_environment
from pixtral_cli.engines.vllm.process import VllmProcess, launch
from pixtral_cli.errors import PixtralError

RUNNING, STOPPING, ENDED = "running", "stopping", "ended"


@dataclass(slots=True)
class _Part:
    """A part that was started: its process, or the error with which the start failed."""

    assignment: Assignment
    process: VllmProcess | None = None
    error: PixtralError | None = None
    stopping: bool = False

    @property
    def ended(self) -> bool:
        return self.process is None or self.process.ended


class Node:
    """The vLLMs of one machine.

    `apply` never waits: it asks processes to stop, and later calls check whether they have.
    """

    def __init__(
        self, folder: Path, name: str, window: int, options: VllmOptions, machine: Machine, sockets: Path
    ) -> None:
        self._folder, self._name, self._window = folder, name, window
        self._options, self._machine, self._sockets = options, machine, sockets
        self._parts: dict[tuple[int, int], _Part] = {}

    def socket_of(self, assignment: Assignment) -> Path:
        """The Unix socket of a part that serves HTTP without a port."""
        return self._sockets / f"{os.getpid()}-{assignment.replica}-{assignment.epoch}.vllm"

    def apply(self, assignments: Sequence[Assignment]) -> list[PartReport]:
        """Start the assigned parts, unless they run, and stop all others; returns a report for each part."""
        assigned = {assignment.identity: assignment for assignment in assignments}
        for identity, part in list(self._parts.items()):
            if identity not in assigned:
                if part.ended:
                    del self._parts[identity]
                elif not part.stopping and part.process:
                    part.stopping = True
                    part.process.request_stop()
        for identity, assignment in assigned.items():
            if identity not in self._parts and not self._predecessor_runs(assignment):
                self._parts[identity] = self._start(assignment)
        return [self._report(part) for part in self._parts.values()]

    def _predecessor_runs(self, assignment: Assignment) -> bool:
        """Whether an earlier process of the replica still holds its GPUs and ports."""
        return any(part.assignment.replica == assignment.replica and not part.ended for part in self._parts.values())

    def _start(self, assignment: Assignment) -> _Part:
        """The started part, or one with the error of its start."""
        try:
            return _Part(assignment, process=self._launch(assignment))
        except PixtralError as error:
            return _Part(assignment, error=error)

    def _launch(self, assignment: Assignment) -> VllmProcess:
        """Start the vLLM of an assignment. Raises PixtralError."""
        options = replace(
            self._options,
            tensor_parallel=assignment.tensor,
            pipeline_parallel=assignment.pipeline,
            arguments=assignment.arguments,
        )
        socket = self.socket_of(assignment)
        address = self._machine.address
        listen: list[str] = []
        if assignment.part:
            listen = ["--headless"]
            socket = socket.with_name(f"{socket.name}.{secrets.token_hex(2)}")
        elif assignment.port:
            check_free(address, assignment.port)
            listen = ["--host", address, "--port", str(assignment.port)]
        else:
            listen = ["--uds", str(socket)]
        if assignment.parts > 1:
            if not assignment.part:
                check_free(assignment.master, assignment.master_port)
            listen += [
                "--distributed-executor-backend", "mp", "--nnodes", str(assignment.parts), "--node-rank", str(assignment.part),
                "--master-addr", assignment.master, "--master-port", str(assignment.master_port),
            ]  # fmt: skip
        folder = prepare_checkpoint(self._folder, self._window, Path(options.cache))
        words = build_command(options, folder, self._name, assignment.dtype, listen)
        env = build_environment(
            options, assignment.key, {**self._network(assignment), **os.environ, **self._devices(assignment)}
        )
        return launch(options, words, env, socket)

    def _network(self, assignment: Assignment) -> dict[str, str]:
        """Variables that bind vLLM's unauthenticated connections to the loopback, or to the replica's own interface."""
        address, interface = (
            ("127.0.0.1", "lo") if assignment.parts == 1 else (self._machine.address, self._machine.interface)
        )
        variables = {"VLLM_HOST_IP": address}
        return variables | ({"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface} if interface else {})

    def _devices(self, assignment: Assignment, env: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Variables that restrict a part to its GPUs, or without a GPU to its cores where replicas share a machine."""
        if self._machine.gpus:
            count = assignment.tensor * assignment.pipeline // assignment.parts
            gpus = self._machine.gpus[assignment.slot * count : (assignment.slot + 1) * count]
            return {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}
        if assignment.slots == 1 or "VLLM_CPU_OMP_THREADS_BIND" in env:
            return {}
        cores = sorted(os.sched_getaffinity(0))
        part_cores = cores[
            assignment.slot * len(cores) // assignment.slots : (assignment.slot + 1) * len(cores) // assignment.slots
        ]
        return {"VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, part_cores))} if part_cores else {}

    def _report(self, part: _Part) -> PartReport:
        identity = part.assignment.identity
        if part.stopping:
            return PartReport(*identity, STOPPING)
        if part.process and not part.process.ended:
            part.process.read_log()
            return PartReport(*identity, RUNNING, part.process.doing, part.process.loaded)
        if part.error is None:
            assert part.process
            part.error = part.process.failure()
        return PartReport(
            *identity, ENDED, kind=type(part.error).__name__, message=part.error.message, hint=part.error.hint
        )

    def request_stop(self) -> None:
        """Ask all processes to stop, without waiting."""
        for part in self._parts.values():
            if part.process:
                part.process.request_stop()

    def stop(self) -> None:
        """Stop all processes and wait for their end."""
        self.request_stop()
        for part in self._parts.values():
            if part.process:
                part.process.stop()
        self._parts.clear()
