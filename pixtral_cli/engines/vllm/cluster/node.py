"""Runs on each machine: starts, watches and stops the vLLMs that the first machine has ordered."""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pixtral_cli.engines.vllm.checkpoint_folder import prepare_checkpoint
from pixtral_cli.engines.vllm.cluster.machine import Machine
from pixtral_cli.engines.vllm.cluster.network import check_free
from pixtral_cli.engines.vllm.cluster.order import Order, PartReport
from pixtral_cli.engines.vllm.command import VllmOptions, build_command, build_environment
from pixtral_cli.engines.vllm.process import VllmProcess, launch
from pixtral_cli.errors import PixtralError

RUNNING, STOPPING, ENDED = "running", "stopping", "ended"


@dataclass(slots=True)
class _Part:
    """An order that was carried out: its process, or the error that kept it from starting."""

    order: Order
    process: VllmProcess | None = None
    error: PixtralError | None = None
    stopping: bool = False

    @property
    def ended(self) -> bool:
        return self.process is None or self.process.ended


class Node:
    """The vLLMs of one machine. `obey` never waits: what is to be stopped is asked to, and followed up by later calls."""

    def __init__(
        self, folder: Path, name: str, window: int, options: VllmOptions, machine: Machine, sockets: Path
    ) -> None:
        self._folder, self._name, self._window = folder, name, window
        self._options, self._machine, self._sockets = options, machine, sockets
        self._parts: dict[tuple[int, int], _Part] = {}

    def socket_of(self, order: Order) -> Path:
        """The Unix socket of a part that answers without a port."""
        return self._sockets / f"{os.getpid()}-{order.replica}-{order.epoch}.vllm"

    def obey(self, orders: Sequence[Order]) -> list[PartReport]:
        """Start what is ordered and not there, stop what is there and not ordered; returns how each part is."""
        wanted = {order.identity: order for order in orders}
        for identity, part in list(self._parts.items()):
            if identity not in wanted:
                if part.ended:
                    del self._parts[identity]
                elif not part.stopping and part.process:
                    part.stopping = True
                    part.process.request_stop()
        for identity, order in wanted.items():
            if identity not in self._parts and not self._predecessor_runs(order):
                self._parts[identity] = self._started(order)
        return [self._report(part) for part in self._parts.values()]

    def _predecessor_runs(self, order: Order) -> bool:
        """Whether an earlier start of the replica still holds its GPUs and ports."""
        return any(part.order.replica == order.replica and not part.ended for part in self._parts.values())

    def _started(self, order: Order) -> _Part:
        try:
            return _Part(order, process=self._launch(order))
        except PixtralError as error:
            return _Part(order, error=error)

    def _launch(self, order: Order) -> VllmProcess:
        options = replace(
            self._options, tensor_parallel=order.tensor, pipeline_parallel=order.pipeline, arguments=order.arguments
        )
        socket = self.socket_of(order)
        address = self._machine.address
        listen: list[str] = []
        if order.part:
            listen = ["--headless"]
            socket = socket.with_name(f"{socket.name}.{secrets.token_hex(2)}")
        elif order.port:
            check_free(address, order.port)
            listen = ["--host", address, "--port", str(order.port)]
        else:
            listen = ["--uds", str(socket)]
        if order.parts > 1:
            if not order.part:
                check_free(order.master, order.master_port)
            listen += [
                "--distributed-executor-backend", "mp", "--nnodes", str(order.parts), "--node-rank", str(order.part),
                "--master-addr", order.master, "--master-port", str(order.master_port),
            ]  # fmt: skip
        folder = prepare_checkpoint(self._folder, self._window, Path(options.cache))
        words = build_command(options, folder, self._name, order.dtype, listen)
        env = build_environment(options, order.key, {**self._network(order), **os.environ, **self._devices(order)})
        return launch(options, words, env, socket)

    def _network(self, order: Order) -> dict[str, str]:
        """Variables that bind vLLM's unauthenticated connections: to the loopback, or to where a replica's machines meet."""
        address, interface = (
            ("127.0.0.1", "lo") if order.parts == 1 else (self._machine.address, self._machine.interface)
        )
        found = {"VLLM_HOST_IP": address}
        return found | ({"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface} if interface else {})

    def _devices(self, order: Order, env: Mapping[str, str] = os.environ) -> dict[str, str]:
        """Variables that give a part its own GPUs, or its own cores where several share a machine without one."""
        if self._machine.gpus:
            here = order.tensor * order.pipeline // order.parts
            own = self._machine.gpus[order.slot * here : (order.slot + 1) * here]
            return {"CUDA_VISIBLE_DEVICES": ",".join(own)}
        if order.slots == 1 or "VLLM_CPU_OMP_THREADS_BIND" in env:
            return {}
        cores = sorted(os.sched_getaffinity(0))
        own_cores = cores[order.slot * len(cores) // order.slots : (order.slot + 1) * len(cores) // order.slots]
        return {"VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, own_cores))} if own_cores else {}

    def _report(self, part: _Part) -> PartReport:
        at = part.order.identity
        if part.stopping:
            return PartReport(*at, STOPPING)
        if part.process and not part.process.ended:
            part.process.read_log()
            return PartReport(*at, RUNNING, part.process.doing, part.process.loaded)
        if part.error is None:
            assert part.process
            part.error = part.process.failure()
        return PartReport(*at, ENDED, kind=type(part.error).__name__, message=part.error.message, hint=part.error.hint)

    def request_stop(self) -> None:
        """Ask all to stop, without waiting."""
        for part in self._parts.values():
            if part.process:
                part.process.request_stop()

    def stop(self) -> None:
        """Stop all, and wait for that."""
        self.request_stop()
        for part in self._parts.values():
            if part.process:
                part.process.stop()
        self._parts.clear()
