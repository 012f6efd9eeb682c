"""Keeps the replicas running: assigns their parts, detects when they answer, end or are lost, and restarts them."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pixtral_cli import errors
from pixtral_cli.engines.remote.client import ApiClient, CancellableRequest
from pixtral_cli.engines.remote.errors import NotListening, Unreachable
from pixtral_cli.engines.vllm.cluster.arrangement import Replica
from pixtral_cli.engines.vllm.cluster.assigning import Assigner
from pixtral_cli.engines.vllm.cluster.assignment import PartReport
from pixtral_cli.engines.vllm.cluster.machine import Machine
from pixtral_cli.engines.vllm.cluster.membership import Membership
from pixtral_cli.engines.vllm.cluster.node import ENDED, RUNNING, Node
from pixtral_cli.engines.vllm.cluster.replica_state import LaunchSettings, ReplicaState
from pixtral_cli.engines.vllm.engine import listed_window
from pixtral_cli.errors import NetworkError, PixtralError
from pixtral_cli.util.lru import LruCache
from pixtral_cli.util.sanitize import visible

UPDATE_INTERVAL = 0.2  # seconds
CHECK_TIMEOUT = 5.0  # seconds for a serving replica to list its model
MIN_RESTART_DELAY, MAX_RESTART_DELAY = 1.0, 30.0  # seconds
# A conversation stays on its replica while that has at most so many answers more than the least busy one.
AFFINITY_SLACK = 2
MAX_AFFINITIES = 4096  # conversations whose replica is recorded


class Replicas:
    """The replicas of a model on the machines of a membership.

    `node`: the first machine's; `note` is called for each event. `error`: why the first start has failed, or None.
    """

    def __init__(
        self,
        arrangement: Sequence[Replica],
        membership: Membership,
        node: Node,
        launch: LaunchSettings,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.states = [ReplicaState(replica) for replica in arrangement]
        self.error: PixtralError | None = None
        self._membership, self._node, self._assigner = membership, node, Assigner(membership, launch)
        self._note, self._clock = note, clock
        self._has_started = False  # whether all replicas have answered once
        self._affinity: LruCache[str, int] = LruCache(MAX_AFFINITIES)
        self._changed = threading.Condition()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replicas", daemon=True)

    # Running

    def start(self) -> None:
        """Start the replicas, on a separate thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop assigning. The processes are stopped by the owner of the nodes."""
        self._ending.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        for state in self.states:
            if state.client:
                state.client.close()

    def _run(self) -> None:
        while not self._ending.is_set():
            self.update()
            self._ending.wait(UPDATE_INTERVAL)

    def update(self) -> None:
        """Update the states of machines and replicas, and assign what each machine runs."""
        for member, why in self._membership.detect_lost():
            self._lose_machine(member.rank, member.machine, why)
        reports = self._reports()
        for state in self.states:
            self._update_state(state, reports)
        assignments = self._assigner.assignments(self.states, self._clock())
        self._membership.assign(assignments)
        self._local_reports = self._node.apply(assignments.get(0, []))

    _local_reports: Sequence[PartReport] = ()

    def _reports(self) -> dict[tuple[int, int, int], PartReport]:
        """The newest report of each part, by rank, replica and epoch."""
        reports = {(0, report.replica, report.epoch): report for report in self._local_reports}
        for rank, member in self._membership.members().items():
            reports |= {(rank, report.replica, report.epoch): report for report in member.parts}
        return reports

    def _lose_machine(self, rank: int, machine: Machine, why: str) -> None:
        """Mark the replicas on a lost machine as down."""
        affected = [state for state in self.states if rank in state.replica.ranks]
        line = f"Rank {rank} ({visible(machine.name)}) is lost: {why}"
        for state in affected:
            self._mark_down(state, f"rank {rank} ({machine.host}) is lost")
            if len(state.replica.ranks) > 1:  # its other parts cannot run without this one
                self._next_epoch(state)
        running = [state for state in self.states if state.up]
        if affected:
            line += f"; {_numbered(affected)} {'is' if len(affected) == 1 else 'are'} down"
        self._note(f"{line}, {_numbered(running)} {'goes' if len(running) == 1 else 'go'} on" if running else line)

    def _update_state(self, state: ReplicaState, reports: dict[tuple[int, int, int], PartReport]) -> None:
        """Update a replica's state from the reports of its parts; check whether it answers once all of them run."""
        parts = [(rank, reports.get((rank, state.replica.number, state.epoch))) for rank in state.replica.ranks]
        for rank, report in parts:
            if report and report.state == ENDED:
                self._fail(state, rank, report)
                return
        running = [report for _, report in parts if report and report.state == RUNNING]
        if running:
            slowest = min(running, key=lambda report: report.loaded)
            state.doing, state.loaded = slowest.doing, slowest.loaded
        present = all(rank == 0 or rank in self._membership.members() for rank in state.replica.ranks)
        if len(running) == len(parts) and present and not state.up and not state.checking:
            state.checking = True
            threading.Thread(target=self._check_answering, args=(state, state.epoch), daemon=True).start()

    def _fail(self, state: ReplicaState, rank: int, report: PartReport) -> None:
        """Mark a replica as down whose part has ended, and schedule its restart."""
        error = getattr(errors, report.kind, PixtralError)(report.message, report.hint)
        where = (
            f"on rank {rank} ({visible(self._assigner.machine(rank).name)})" if self._membership.nodes > 1 else "here"
        )
        if not self._has_started:
            hint = f"On rank {rank}, {self._assigner.machine(rank).host}. {report.hint}" if rank else report.hint
            self.error = self.error or type(error)(report.message, hint)
        was_up = state.up
        self._mark_down(state, f"its vLLM {where} has ended")
        running = [other for other in self.states if other.up]
        line = f"Replica {state.replica.number} has ended {where}: {visible(report.message)}"
        if was_up:
            line += f"; {_numbered(running)} {'goes' if len(running) == 1 else 'go'} on" if running else ""
        self._note(f"{line}; it is started anew. {visible(report.hint)}" if self._has_started else line)
        state.failures += 1
        self._next_epoch(state)
        state.not_before = self._clock() + min(MIN_RESTART_DELAY * 2 ** (state.failures - 1), MAX_RESTART_DELAY)

    def _next_epoch(self, state: ReplicaState) -> None:
        """Let the next assignments of a replica be a new start."""
        state.epoch += 1
        state.restarts += 1
        state.doing, state.loaded = "", 0.0

    def _mark_down(self, state: ReplicaState, why: str) -> None:
        """Mark a replica as down and cancel its unfinished answers."""
        with self._changed:
            state.up, state.down_reason = False, why
            requests, client = list(state.requests), state.client
            state.client = None
            self._changed.notify_all()
        for request in requests:
            request.cancel()
        if client:
            threading.Thread(target=client.close, daemon=True).start()

    def _check_answering(self, state: ReplicaState, epoch: int) -> None:
        """Mark a replica as up if it answers. Runs on a separate thread, since a firewall may delay it."""
        endpoint = self._assigner.endpoint(state, self._node)
        try:
            with contextlib.closing(ApiClient(endpoint, read_timeout=CHECK_TIMEOUT)) as client:
                window = listed_window(client.get("/models"))
        except NotListening:
            return
        except Unreachable:
            if endpoint.socket is None:
                self._membership.note_refusal(
                    f"Replica {state.replica.number} cannot be reached at {endpoint.base_url}: a firewall must let TCP through"
                )
            return
        except PixtralError:
            return
        finally:
            state.checking = False
        with self._changed:
            if state.epoch != epoch or state.up:
                return
            state.client = ApiClient(endpoint, read_timeout=None)
            state.window, state.up, state.failures = window, True, 0
            had_started, self._has_started = (
                self._has_started,
                self._has_started or all(other.up for other in self.states),
            )
            self._changed.notify_all()
        if self._membership.nodes > 1 or len(self.states) > 1:
            again = "again" if had_started else ""
            ranks = " and ".join(str(rank) for rank in state.replica.ranks)
            self._note(f"Replica {state.replica.number} (rank {ranks}) answers {again}".rstrip())

    # Answering

    @property
    def all_up(self) -> bool:
        """Whether all replicas answer."""
        return all(state.up for state in self.states)

    @property
    def any_up(self) -> bool:
        """Whether any replica answers."""
        return any(state.up for state in self.states)

    @property
    def ending(self) -> bool:
        """Whether `close` was called: replicas that are lost from then on were stopped."""
        return self._ending.is_set()

    @property
    def window(self) -> int | None:
        """The smallest context window that a replica has reported, in tokens; None while none has."""
        return min((state.window for state in self.states if state.window), default=None)

    @property
    def doing(self) -> str:
        """The step of the slowest replica that does not answer yet; "" when all do."""
        starting = [state for state in self.states if not state.up]
        if not starting:
            return ""
        state = min(starting, key=lambda state: state.loaded)
        percent = f" {state.loaded:.0%}" if 0 < state.loaded < 1 else ""
        return f"vLLM starts, {len(self.states) - len(starting)} of {len(self.states)} answer: {state.doing}{percent}"

    def acquire(self, request: CancellableRequest, conversation: str, wait: float) -> tuple[ReplicaState, ApiClient]:
        """The least busy replica, or the conversation's last one if it is little busier; and its client.

        `request` is cancelled when the replica is lost. Waits up to `wait` seconds for a replica that answers. Raises
        NetworkError when none does.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.any_up or self._ending.is_set(), wait)
            up = [state for state in self.states if state.up]
            if not up or self._ending.is_set():
                why = next((state.down_reason for state in self.states if state.down_reason), "none has started")
                raise NetworkError(f"No replica answers: {why}", "See the notes above")
            chosen = min(up, key=lambda state: (len(state.requests), state.answers))
            last = self._affinity.get(conversation)
            for state in up:
                if state.replica.number == last and len(state.requests) <= len(chosen.requests) + AFFINITY_SLACK:
                    chosen = state
            self._affinity.put(conversation, chosen.replica.number, 1)
            chosen.requests.add(request)
            assert chosen.client
            return chosen, chosen.client

    def release(self, state: ReplicaState, request: CancellableRequest, *, answered: bool) -> None:
        """End the use of a replica. `answered`: its answer was complete."""
        with self._changed:
            state.requests.discard(request)
            state.answers += answered

    def loss_within(self, state: ReplicaState, client: ApiClient, seconds: float) -> str:
        """Why a replica is down, as soon as it is; "" if it is not within `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: state.client is not client or self._ending.is_set(), seconds)
            return state.down_reason if state.client is not client else ""

    def status(self) -> list[dict[str, Any]]:
        """The state of each replica, for /v1/status and /metrics."""
        with self._changed:
            return [
                {
                    "replica": state.replica.number, "ranks": list(state.replica.ranks), "up": state.up,
                    "running": len(state.requests), "answers": state.answers, "restarts": state.restarts,
                }
                for state in self.states
            ]  # fmt: skip


def _numbered(states: Iterable[ReplicaState]) -> str:
    """Names replicas: `replica 1`, `replicas 0 and 2` or `5 replicas`."""
    numbers = [str(state.replica.number) for state in states]
    if len(numbers) > 3:
        return f"{len(numbers)} replicas"
    return f"replica{'s' if len(numbers) > 1 else ''} {' and '.join(numbers)}"
