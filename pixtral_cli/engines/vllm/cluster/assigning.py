"""Computes what each machine of a cluster must run, and where the HTTP server of each replica is."""

from collections.abc import Iterable
from dataclasses import dataclass

from pixtral_cli.engines.remote.errors import Endpoint
from pixtral_cli.engines.vllm.cluster.assignment import Assignment
from pixtral_cli.engines.vllm.cluster.machine import Machine
from pixtral_cli.engines.vllm.cluster.membership import Membership
from pixtral_cli.engines.vllm.cluster.network import join_address
from pixtral_cli.engines.vllm.cluster.node import Node
from pixtral_cli.engines.vllm.cluster.replica_state import LaunchSettings, ReplicaState

MASTER_PORTS, API_PORTS = 1, 101  # ports of a replica: the coordinator's, plus one of these, plus the replica's number
MAX_REPLICAS = 100


@dataclass(frozen=True, slots=True)
class Assigner:
    """Assigns the parts of replicas to the machines of a membership."""

    membership: Membership
    launch: LaunchSettings

    def machine(self, rank: int) -> Machine:
        """The machine of a rank; one with a name only while no machine has it."""
        member = self.membership.members().get(rank)
        if rank == 0 or member is None:
            return self.membership.first if rank == 0 else Machine(f"rank {rank}")
        return member.machine

    def assignments(self, states: Iterable[ReplicaState], now: float) -> dict[int, list[Assignment]]:
        """The assignments by rank at the time `now`.

        A replica on several machines runs only while all of them are present.
        """
        assignments: dict[int, list[Assignment]] = {}
        members = self.membership.members()
        for state in states:
            complete = all(rank == 0 or rank in members for rank in state.replica.ranks)
            if (len(state.replica.ranks) > 1 and not complete) or now < state.not_before:
                continue
            for part, rank in enumerate(state.replica.ranks):
                assignments.setdefault(rank, []).append(self.assignment(state, part))
        return assignments

    def assignment(self, state: ReplicaState, part: int) -> Assignment:
        """The assignment of one part of a replica."""
        replica, launch = state.replica, self.launch
        master = self.machine(replica.ranks[0]).address
        return Assignment(
            replica.number, state.epoch, part, len(replica.ranks), replica.tensor, replica.pipeline,
            master, launch.port + MASTER_PORTS + replica.number, self._api_port(state) if replica.ranks[0] else 0,
            state.key, replica.slot, replica.slots, launch.dtype, launch.arguments,
        )  # fmt: skip

    def endpoint(self, state: ReplicaState, node: Node) -> Endpoint:
        """The address of a replica's HTTP server, and its key. `node`: the first machine's, which serves on sockets."""
        head = state.replica.ranks[0]
        program = f"Replica {state.replica.number}"
        if head == 0:
            socket = node.socket_of(self.assignment(state, 0))
            return Endpoint("http://localhost/v1", state.key, socket, program)
        address = join_address(self.machine(head).address, self._api_port(state))
        return Endpoint(f"http://{address}/v1", state.key, None, program, started_by_us=True)

    def _api_port(self, state: ReplicaState) -> int:
        return self.launch.port + API_PORTS + state.replica.number
