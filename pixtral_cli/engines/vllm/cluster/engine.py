"""The engine with several vLLMs: waits for machines, starts replicas, sends each question to the least busy one."""

import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from pixtral_cli.chat.engine import Chunk, Cost, Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.chat.tools import Tool
from pixtral_cli.engines import resident
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.remote.engine import AnswerStream
from pixtral_cli.engines.vllm.client_engine import has_parser, parser_arguments
from pixtral_cli.engines.vllm.cluster.arrangement import ModelShape, Parallelism, arrange, check_request
from pixtral_cli.engines.vllm.cluster.assigning import API_PORTS, MAX_REPLICAS
from pixtral_cli.engines.vllm.cluster.coordinator import Coordinator
from pixtral_cli.engines.vllm.cluster.machine import describe
from pixtral_cli.engines.vllm.cluster.membership import Membership, missing_error
from pixtral_cli.engines.vllm.cluster.network import join_address, parse_address, primary_address
from pixtral_cli.engines.vllm.cluster.node import Node
from pixtral_cli.engines.vllm.cluster.replica_state import LaunchSettings
from pixtral_cli.engines.vllm.cluster.replicas import Replicas
from pixtral_cli.engines.vllm.cluster.routing import RoutedRequest, Router
from pixtral_cli.engines.vllm.command import VllmOptions, find_executable
from pixtral_cli.engines.vllm.engine import (
    check_device,
    is_exit_signal,
    load_for_prompt,
    with_local_counts,
    with_window,
)
from pixtral_cli.errors import NetworkError, UsageError
from pixtral_cli.models import names

TOKEN_VARIABLE = "PIXTRAL_JOIN_TOKEN"
ANY_ADDRESS = "0.0.0.0"
MISSING_NOTE_AFTER = 30.0  # seconds after which a note names the machines that have not joined
POLL_INTERVAL = 0.2  # seconds
END_TIMEOUT, HASTY_END_TIMEOUT = 5.0, 1.5  # seconds to tell the other machines that the cluster ends
PARALLEL_ANSWERS = 32  # concurrent answers that keep one vLLM busy


class ClusterEngine:
    """An `Engine` with several vLLMs, which the first question starts and `close` stops. Also a `LoadableEngine`.

    `note` is called with a line for each event. Raises UsageError for a parallelism that is impossible on any machines.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        options: VllmOptions,
        device: str = "auto",
        dtype: str = "auto",
        note: Callable[[str], None] = lambda line: None,
    ) -> None:
        check_device(device)
        self.model = name
        self._options, self._dtype, self._note = options, dtype, note
        if options.ray:
            raise UsageError(
                "--ray spreads over a Ray cluster, --nodes and --replicas over machines that join", "Use one"
            )
        self._requested = Parallelism(
            options.nodes, options.replicas, options.tensor_parallel, options.pipeline_parallel
        )
        self._shape = ModelShape.of(folder)
        check_request(self._requested, self._shape)
        self._host, self._port = parse_address(options.coordinator, ANY_ADDRESS)
        if self._port + API_PORTS + MAX_REPLICAS > 65535:
            raise UsageError(f"Port {self._port} leaves no room for the ports after it", "Choose one below 65000")
        if options.replicas > MAX_REPLICAS:
            raise UsageError(f"{options.replicas} replicas are more than {MAX_REPLICAS}", "Lower --replicas")
        self._counter = LocalEngine(folder, name=name)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._coordinator: Coordinator | None = None
        self._membership: Membership | None = None
        self._node: Node | None = None
        self._replicas: Replicas | None = None
        self._router: Router | None = None
        self._started = False
        self._preparing = ""

    # Loading

    @property
    def doing(self) -> str:
        """See `LoadableEngine`."""
        return self._replicas.doing if self._replicas else self._preparing

    @property
    def loaded(self) -> float:
        """See `LoadableEngine`."""
        states = self._replicas.states if self._replicas else []
        return min((1.0 if state.up else state.loaded for state in states), default=0.0)

    @property
    def ready(self) -> bool:
        """Whether any replica answers."""
        return self._replicas is not None and self._replicas.any_up

    @property
    def parallel_answers(self) -> int:
        """How many concurrent answers keep all replicas busy."""
        return PARALLEL_ANSWERS * len(self._replicas.states) if self._replicas else PARALLEL_ANSWERS

    def status(self) -> list[dict[str, Any]]:
        """The state of each replica, as `Replicas.status` returns it."""
        return self._replicas.status() if self._replicas else []

    def load(self, check: Callable[[], None] = lambda: None) -> None:
        """Wait for the machines, start all replicas and wait until they answer; `check` is called often and may raise.

        Raises UsageError, ModelError, OutOfMemory, NetworkError or PixtralError when that fails.
        """
        with self._lock:
            if self._started:
                return
            try:
                self._start(check)
                self._started = True
            except BaseException as error:
                self._stop(hasty=is_exit_signal(error))
                raise

    def _start(self, check: Callable[[], None]) -> None:
        """Gather the machines, arrange the replicas and wait until all of them answer."""
        options = self._options
        cache = Path(options.cache)
        machine = describe(self._counter.folder, find_executable(options.executable), cache, self._set_preparing)
        membership = self._membership = Membership(machine, options.nodes, self._note)
        if options.nodes > 1:
            self._gather(membership, check)
        machines = [membership.first, *(member.machine for member in membership.members().values())]
        arrangement = arrange(machines, self._requested, self._shape)
        if len(arrangement) > MAX_REPLICAS:
            raise UsageError(f"{len(arrangement)} replicas are more than {MAX_REPLICAS}", "Lower --replicas")
        sockets = resident.socket_folder(Path(options.state))
        node = self._node = Node(
            self._counter.folder, self.model, self._counter.params.context_window, options, membership.first, sockets
        )
        arguments = (*parser_arguments(self._counter), *options.arguments)
        launch = LaunchSettings(self.model, self._dtype, arguments, self._port)
        replicas = self._replicas = Replicas(arrangement, membership, node, launch, self._note)
        self._router = Router(replicas, self.model, self._counter, parses_calls=has_parser(options.arguments))
        replicas.start()
        while not replicas.all_up:
            check()
            if replicas.error:
                raise replicas.error
            if self._closing.wait(POLL_INTERVAL):
                raise NetworkError("The start of vLLM was cancelled")

    def _set_preparing(self, doing: str) -> None:
        self._preparing = doing

    def _gather(self, membership: Membership, check: Callable[[], None]) -> None:
        """Start the coordinator, print the commands for the other machines, and wait until all have joined.

        Raises NetworkError when they have not within `join_timeout`.
        """
        token = os.environ.get(TOKEN_VARIABLE) or secrets.token_urlsafe(16)
        coordinator = self._coordinator = Coordinator(
            self._host, self._port, token, membership, self._about(membership)
        )
        shows_token = os.environ.get(TOKEN_VARIABLE) is None
        host = primary_address() if self._host in (ANY_ADDRESS, "::") else self._host
        address = join_address(host, coordinator.port)
        for rank in range(1, membership.nodes):
            secret = f" --token {token}" if shows_token else ""
            self._note(f"On machine {rank + 1} of {membership.nodes}: pixtral join {address} --rank {rank}{secret}")
        began, noted = time.monotonic(), False
        while missing := membership.missing():
            check()
            self._preparing = f"waiting for rank {', '.join(map(str, missing))} to join"
            waited = time.monotonic() - began
            membership.detect_lost()
            if waited > self._options.join_timeout:
                raise missing_error(membership, self._options.join_timeout)
            if waited > MISSING_NOTE_AFTER and not noted:
                noted = True
                self._note(f"Not there after {waited:.0f} s: rank {', '.join(map(str, missing))}. Does pixtral join run there,"
                           f" and TCP port {coordinator.port} of this machine open to it?")  # fmt: skip
            if self._closing.wait(POLL_INTERVAL):
                raise NetworkError("The start of vLLM was cancelled")

    def _about(self, membership: Membership) -> dict[str, Any]:
        """The description of the model and the cluster that machines get before they join."""
        folder = self._counter.folder
        repo = names.repo_of(folder)
        return {
            "name": self.model, "folder": str(folder.resolve()), "repo": repo, "revision": names.revision_of(folder),
            "window": self._counter.params.context_window, "versions": dict(membership.first.versions),
            "nodes": membership.nodes, "host": socket.gethostname(),
        }  # fmt: skip

    # Answering

    def measure(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Cost:
        """See `Engine`. Tokens are counted with the checkpoint's tokenizer."""
        return with_window(self._counter.measure(messages, tools), self._window)

    @property
    def _window(self) -> int | None:
        """The smallest context window of the replicas in tokens; None while none is known."""
        return self._replicas.window if self._replicas else None

    def versions(self) -> dict[str, str]:
        """The version of vLLM, which is the same on all machines; empty before it runs."""
        if not self._membership or not self._started:
            return {}
        return {"vllm": self._membership.first.versions.get("vllm", "")}

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> AnswerStream:
        """See `Engine`. Any thread may close the stream."""
        request = RoutedRequest()
        return AnswerStream(self._answer(messages, sampling, request), request)

    def _answer(
        self, messages: Sequence[Message], sampling: Sampling, request: RoutedRequest
    ) -> Generator[Chunk, None, None]:
        cost, waited = load_for_prompt(self, self._counter, lambda: self._window, messages, sampling)
        assert self._router
        for chunk in self._router.answer(messages, sampling, request):
            yield with_local_counts(chunk, cost.image_tokens, waited)

    # End

    def close(self) -> None:
        """Stop the vLLMs on all machines, even while they start. After a signal, do not wait for their end."""
        self._closing.set()
        with self._lock:
            self._stop(hasty=is_exit_signal(sys.exception()))

    def _stop(self, *, hasty: bool) -> None:
        if self._replicas:
            self._replicas.close()
        if self._node:
            self._node.request_stop()
        if self._membership:
            self._membership.end(HASTY_END_TIMEOUT if hasty else END_TIMEOUT)
        if self._coordinator:
            self._coordinator.close()
        if self._node and not hasty:
            self._node.stop()
        self._replicas = self._router = self._node = self._membership = self._coordinator = None
