"""Keeps the replicas running: orders their parts, sees when they answer, die or are lost, and starts them anew."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pixtral_cli import errors
from pixtral_cli.engines.remote.client import ApiClient, CancellableRequest
from pixtral_cli.engines.remote.errors import Endpoint, NotListening, Unreachable
from pixtral_cli.engines.vllm.cluster.arrangement import Replica
from pixtral_cli.engines.vllm.cluster.machine import Machine
from pixtral_cli.engines.vllm.cluster.membership import Membership
from pixtral_cli.engines.vllm.cluster.network import join_address
from pixtral_cli.engines.vllm.cluster.node import ENDED, RUNNING, Node
from pixtral_cli.engines.vllm.cluster.order import Order, PartReport
from pixtral_cli.engines.vllm.cluster.replica_state import Launch, ReplicaState
from pixtral_cli.engines.vllm.engine import listed_window
from pixtral_cli.errors import NetworkError, PixtralError
from pixtral_cli.util.lru import LruCache
from pixtral_cli.util.sanitize import visible

TICK = 0.2  # seconds between two looks at all
CHECK_TIMEOUT = 5.0  # seconds in which a replica that serves lists its model
MIN_RESTART_DELAY, MAX_RESTART_DELAY = 1.0, 30.0
AFFINITY_SLACK = 2  # answers more than the least busy replica has that a conversation's own may have
AFFINITIES = 4096  # conversations whose replica is remembered
MASTER_PORTS, API_PORTS = 1, 101  # what is added to the coordinator's port, and to that the replica's number
MAX_REPLICAS = 100


class Replicas:
    """The replicas of a model on the machines of a membership, of which `node` is the first. `note` hears of events."""

    def __init__(
        self,
        arrangement: Sequence[Replica],
        membership: Membership,
        node: Node,
        launch: Launch,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.states = [ReplicaState(replica) for replica in arrangement]
        self.error: PixtralError | None = None  # why a first start has failed
        self._membership, self._node, self._launch = membership, node, launch
        self._note, self._clock = note, clock
        self._began = False  # all have answered once
        self._affinity: LruCache[str, int] = LruCache(AFFINITIES)
        self._changed = threading.Condition()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="replicas", daemon=True)

    # Life

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Give no more orders. What runs is stopped by whoever owns the nodes."""
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
            self.tick()
            self._ending.wait(TICK)

    def tick(self) -> None:
        """One look at all machines and replicas, and the orders that follow from it."""
        for member, why in self._membership.lose_silent():
            self._lose_machine(member.rank, member.machine, why)
        reports = self._reports()
        for state in self.states:
            self._follow(state, reports)
        orders = self._orders()
        self._membership.give(orders)
        self._local = self._node.obey(orders.get(0, []))

    _local: Sequence[PartReport] = ()

    def _reports(self) -> dict[tuple[int, int, int], PartReport]:
        """The newest report of each part, by rank, replica and epoch."""
        found = {(0, one.replica, one.epoch): one for one in self._local}
        for rank, member in self._membership.members().items():
            found |= {(rank, one.replica, one.epoch): one for one in member.parts}
        return found

    def _lose_machine(self, rank: int, machine: Machine, why: str) -> None:
        hit = [state for state in self.states if rank in state.replica.ranks]
        line = f"Rank {rank} ({visible(machine.name)}) is lost: {why}"
        for state in hit:
            self._put_down(state, f"rank {rank} ({machine.host}) is lost")
            if len(state.replica.ranks) > 1:  # its other parts are worth nothing without this one
                self._next_epoch(state)
        rest = [state for state in self.states if state.up]
        if hit:
            line += f"; {_numbered(hit)} {'is' if len(hit) == 1 else 'are'} down"
        self._note(f"{line}, {_numbered(rest)} {'goes' if len(rest) == 1 else 'go'} on" if rest else line)

    def _follow(self, state: ReplicaState, reports: dict[tuple[int, int, int], PartReport]) -> None:
        """Draw the conclusions from the reports of a replica's parts."""
        own = [(rank, reports.get((rank, state.replica.number, state.epoch))) for rank in state.replica.ranks]
        for rank, report in own:
            if report and report.state == ENDED:
                self._fail(state, rank, report)
                return
        running = [report for _, report in own if report and report.state == RUNNING]
        if running:
            slowest = min(running, key=lambda report: report.loaded)
            state.doing, state.loaded = slowest.doing, slowest.loaded
        present = all(rank == 0 or rank in self._membership.members() for rank in state.replica.ranks)
        if len(running) == len(own) and present and not state.up and not state.checking:
            state.checking = True
            threading.Thread(target=self._check, args=(state, state.epoch), daemon=True).start()

    def _fail(self, state: ReplicaState, rank: int, report: PartReport) -> None:
        error = getattr(errors, report.kind, PixtralError)(report.message, report.hint)
        where = f"on rank {rank} ({visible(self._machine(rank).name)})" if self._membership.nodes > 1 else "here"
        if not self._began:
            hint = f"On rank {rank}, {self._machine(rank).host}. {report.hint}" if rank else report.hint
            self.error = self.error or type(error)(report.message, hint)
        was_up = state.up
        self._put_down(state, f"its vLLM {where} has ended")
        rest = [other for other in self.states if other.up]
        line = f"Replica {state.replica.number} has ended {where}: {visible(report.message)}"
        if was_up:
            line += f"; {_numbered(rest)} {'goes' if len(rest) == 1 else 'go'} on" if rest else ""
        self._note(f"{line}; it is started anew. {visible(report.hint)}" if self._began else line)
        state.failures += 1
        self._next_epoch(state)
        state.not_before = self._clock() + min(MIN_RESTART_DELAY * 2 ** (state.failures - 1), MAX_RESTART_DELAY)

    def _next_epoch(self, state: ReplicaState) -> None:
        state.epoch += 1
        state.restarts += 1
        state.doing, state.loaded = "", 0.0

    def _put_down(self, state: ReplicaState, why: str) -> None:
        """It does not answer any more: its answers in the making end."""
        with self._changed:
            state.up, state.down_because = False, why
            broken, client = list(state.requests), state.client
            state.client = None
            self._changed.notify_all()
        for request in broken:
            request.cancel()
        if client:
            threading.Thread(target=client.close, daemon=True).start()

    def _check(self, state: ReplicaState, epoch: int) -> None:
        """Whether a replica answers by now; on a thread of its own, for a firewall makes it wait."""
        endpoint = self._endpoint(state)
        try:
            with contextlib.closing(ApiClient(endpoint, read_timeout=CHECK_TIMEOUT)) as client:
                window = listed_window(client.get("/models"))
        except NotListening:
            return
        except Unreachable:
            if endpoint.socket is None:
                self._membership.refuse(
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
            began_before, self._began = self._began, self._began or all(other.up for other in self.states)
            self._changed.notify_all()
        if self._membership.nodes > 1 or len(self.states) > 1:
            again = "again" if began_before else ""
            ranks = " and ".join(str(rank) for rank in state.replica.ranks)
            self._note(f"Replica {state.replica.number} (rank {ranks}) answers {again}".rstrip())

    def _endpoint(self, state: ReplicaState) -> Endpoint:
        """Where a replica's HTTP server is, and its key."""
        head = state.replica.ranks[0]
        program = f"Replica {state.replica.number}"
        if head == 0:
            socket = self._node.socket_of(self._order(state, 0))
            return Endpoint("http://localhost/v1", state.key, socket, program)
        place = join_address(self._machine(head).address, self._api_port(state))
        return Endpoint(f"http://{place}/v1", state.key, None, program, started_by_us=True)

    def _machine(self, rank: int) -> Machine:
        member = self._membership.members().get(rank)
        if rank == 0 or member is None:
            return self._membership.first if rank == 0 else Machine(f"rank {rank}")
        return member.machine

    def _api_port(self, state: ReplicaState) -> int:
        return self._launch.port + API_PORTS + state.replica.number

    def _orders(self) -> dict[int, list[Order]]:
        """What each machine is to run. A replica over several machines runs only while all of them are there."""
        orders: dict[int, list[Order]] = {}
        members = self._membership.members()
        for state in self.states:
            whole = all(rank == 0 or rank in members for rank in state.replica.ranks)
            if (len(state.replica.ranks) > 1 and not whole) or self._clock() < state.not_before:
                continue
            for part, rank in enumerate(state.replica.ranks):
                orders.setdefault(rank, []).append(self._order(state, part))
        return orders

    def _order(self, state: ReplicaState, part: int) -> Order:
        replica, launch = state.replica, self._launch
        master = self._machine(replica.ranks[0]).address
        return Order(
            replica.number, state.epoch, part, len(replica.ranks), replica.tensor, replica.pipeline,
            master, launch.port + MASTER_PORTS + replica.number, self._api_port(state) if replica.ranks[0] else 0,
            state.key, replica.slot, replica.slots, launch.dtype, launch.arguments,
        )  # fmt: skip

    # Use

    @property
    def all_up(self) -> bool:
        return all(state.up for state in self.states)

    @property
    def any_up(self) -> bool:
        return any(state.up for state in self.states)

    @property
    def ending(self) -> bool:
        """Whether it was closed: what is lost from then on is meant to be."""
        return self._ending.is_set()

    @property
    def window(self) -> int | None:
        """The smallest context window that a replica has reported, in tokens; None while none has."""
        return min((state.window for state in self.states if state.window), default=None)

    @property
    def doing(self) -> str:
        """What the replicas that do not answer yet do."""
        slow = [state for state in self.states if not state.up]
        if not slow:
            return ""
        state = min(slow, key=lambda one: one.loaded)
        percent = f" {state.loaded:.0%}" if 0 < state.loaded < 1 else ""
        return f"vLLM starts, {len(self.states) - len(slow)} of {len(self.states)} answer: {state.doing}{percent}"

    def acquire(self, request: CancellableRequest, conversation: str, wait: float) -> tuple[ReplicaState, ApiClient]:
        """The least busy replica, for `request`, which is cancelled when it is lost; or the one that knows the conversation.

        Waits for one to answer. Raises NetworkError when none does in so many seconds.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.any_up or self._ending.is_set(), wait)
            up = [state for state in self.states if state.up]
            if not up or self._ending.is_set():
                why = next((state.down_because for state in self.states if state.down_because), "none has started")
                raise NetworkError(f"No replica answers: {why}", "See what it has said above")
            chosen = min(up, key=lambda state: (len(state.requests), state.answers))
            known = self._affinity.get(conversation)
            for state in up:
                if state.replica.number == known and len(state.requests) <= len(chosen.requests) + AFFINITY_SLACK:
                    chosen = state
            self._affinity.put(conversation, chosen.replica.number, 1)
            chosen.requests.add(request)
            assert chosen.client
            return chosen, chosen.client

    def release(self, state: ReplicaState, request: CancellableRequest, *, answered: bool) -> None:
        with self._changed:
            state.requests.discard(request)
            state.answers += answered

    def lost_within(self, state: ReplicaState, client: ApiClient, seconds: float) -> str:
        """Why a replica that broke off is down, once that is known; "" when it is not down after so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: state.client is not client or self._ending.is_set(), seconds)
            return state.down_because if state.client is not client else ""

    def status(self) -> list[dict[str, Any]]:
        """Each replica's state, for /v1/status and /metrics."""
        with self._changed:
            return [
                {
                    "replica": state.replica.number, "ranks": list(state.replica.ranks), "up": state.up,
                    "running": len(state.requests), "answers": state.answers, "restarts": state.restarts,
                }
                for state in self.states
            ]  # fmt: skip


def _numbered(states: Iterable[ReplicaState]) -> str:
    """`replica 1`, or `replicas 0 and 2`, or `5 replicas`."""
    numbers = [str(state.replica.number) for state in states]
    if len(numbers) > 3:
        return f"{len(numbers)} replicas"
    return f"replica{'s' if len(numbers) > 1 else ''} {' and '.join(numbers)}"
