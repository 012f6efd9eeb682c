"""The members of a cluster: joins, heartbeats, lost machines and assignments. Has no HTTP and starts no process."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pixtral_cli.engines.vllm.cluster.assignment import Assignment, PartReport
from pixtral_cli.engines.vllm.cluster.machine import Machine, check_same
from pixtral_cli.errors import NetworkError, PixtralError, UsageError
from pixtral_cli.util.sanitize import visible

MAX_SILENCE = 10.0  # seconds without a heartbeat after which a machine counts as lost
RECONNECT_TIME = 3.0  # seconds for a machine whose connection has closed to connect again
REPEAT_INTERVAL = 60.0  # seconds before the same note about a refusal is repeated


@dataclass(slots=True)
class Member:
    """A machine that has joined. `id`: that of its `pixtral join` process; `last_heartbeat` and `disconnected`: times."""

    rank: int
    id: str
    machine: Machine
    last_heartbeat: float
    disconnected: float | None = None
    lost: bool = False
    parts: list[PartReport] = field(default_factory=list)
    assignments: list[Assignment] = field(default_factory=list)
    informed_of_end: bool = False


class UnknownMember(PixtralError):
    """The heartbeat of a machine that has not joined this cluster and must join again."""


class Membership:
    """The machines of a cluster of `nodes`, of which `first` has rank 0. `note` is called with a line for each event."""

    def __init__(
        self,
        first: Machine,
        nodes: int,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.first = first
        self.nodes = nodes
        self.ending = False
        self.changed = threading.Condition()
        self._note = note
        self._clock = clock
        self._members: dict[int, Member] = {}
        self._replaced: list[Member] = []
        self._noted: dict[str, float] = {}

    def join(self, rank: int, id: str, machine: Machine) -> None:
        """Add a machine. Raises UsageError for an invalid or taken rank, and as `check_same` does."""
        with self.changed:
            try:
                self._check_join(rank, id, machine)
            except PixtralError as error:
                self.note_refusal(f"{machine.name} is refused as rank {rank}: {error.message}")
                raise
            previous = self._members.get(rank)
            if previous and previous.id != id and not previous.lost:
                self._replaced.append(previous)
            self._members[rank] = Member(rank, id, machine, self._clock())
            again = "again " if previous else ""
            gpus = f", {len(machine.gpus)} GPUs" if len(machine.gpus) > 1 else ", 1 GPU" if machine.gpus else ""
            self._note(f"Rank {rank} has joined {again}from {visible(machine.name)}{gpus}")
            self.changed.notify_all()

    def _check_join(self, rank: int, id: str, machine: Machine) -> None:
        if not 1 <= rank < self.nodes:
            ranks = "rank 1" if self.nodes == 2 else f"ranks 1 to {self.nodes - 1}"
            raise UsageError(f"There is no rank {rank} among {self.nodes} machines", f"The others have {ranks}")
        holder = self._members.get(rank)
        if holder and holder.id != id and self._is_present(holder):
            raise UsageError(f"Rank {rank} is taken by {holder.machine.name}", "Give each machine a rank of its own")
        check_same(self.first, machine)

    def note_refusal(self, line: str) -> None:
        """Note a refusal, unless the same line was noted within `REPEAT_INTERVAL`."""
        now = self._clock()
        self._noted = {noted: at for noted, at in self._noted.items() if now - at < REPEAT_INTERVAL}
        if line not in self._noted and len(self._noted) < 100:
            self._noted[line] = now
            self._note(visible(line))

    def heartbeat(self, rank: int, id: str, parts: Sequence[PartReport]) -> tuple[list[Assignment], bool]:
        """Record a machine's heartbeat; returns its assignments, and whether the cluster ends. Raises UnknownMember."""
        with self.changed:
            member = self._members.get(rank)
            if member is None or member.id != id:
                raise UnknownMember("This machine has not joined", "It joins again")
            member.last_heartbeat, member.disconnected = self._clock(), None
            member.parts = list(parts)
            if member.lost:
                member.lost = False
                self._note(f"Rank {rank} ({visible(member.machine.name)}) is back")
            member.informed_of_end = member.informed_of_end or self.ending
            self.changed.notify_all()
            return ([] if self.ending else list(member.assignments)), self.ending

    def disconnected(self, rank: int, id: str) -> None:
        """Record that a machine has closed its connection."""
        with self.changed:
            member = self._members.get(rank)
            if member and member.id == id and member.disconnected is None:
                member.disconnected = self._clock()

    def report_unreachable(self, rank: int, id: str, other: int) -> None:
        """Note that a machine cannot reach another."""
        with self.changed:
            if (member := self._members.get(rank)) and member.id == id:
                peer = self.first if other == 0 else self._members[other].machine if other in self._members else None
                name = visible(peer.name) if peer else "?"
                self.note_refusal(
                    f"Rank {rank} ({member.machine.name}) cannot connect to rank {other} ({name}):"
                    " a firewall between them must let TCP through"
                )

    def detect_lost(self) -> list[tuple[Member, str]]:
        """The machines that have been lost since the last call, and why."""
        with self.changed:
            lost = [(member, "its pixtral join was started anew") for member in self._replaced]
            self._replaced.clear()
            for member in self._members.values():
                if not member.lost and not self._is_present(member):
                    member.lost, member.parts = True, []
                    has_left = member.disconnected is not None
                    why = "its pixtral join has ended" if has_left else f"not a word for {MAX_SILENCE:.0f} s"
                    lost.append((member, why))
        return lost

    def _is_present(self, member: Member) -> bool:
        """Whether a machine is connected, or within the time to reconnect, and sends heartbeats."""
        now = self._clock()
        if member.disconnected is not None and now - member.disconnected > RECONNECT_TIME:
            return False
        return now - member.last_heartbeat <= MAX_SILENCE

    def members(self) -> dict[int, Member]:
        """The machines that have joined and are not lost, by rank."""
        with self.changed:
            return {rank: member for rank, member in sorted(self._members.items()) if not member.lost}

    def missing(self) -> list[int]:
        """The ranks that no machine has."""
        present = self.members()
        return [rank for rank in range(1, self.nodes) if rank not in present]

    def assign(self, assignments: dict[int, list[Assignment]]) -> None:
        """Set what each machine, by rank, runs from now on."""
        with self.changed:
            for rank, member in self._members.items():
                member.assignments = assignments.get(rank, [])

    def end(self, seconds: float) -> None:
        """End the cluster; wait up to `seconds` until all machines have been informed."""
        with self.changed:
            self.ending = True
            self.changed.wait_for(
                lambda: all(member.informed_of_end or member.lost for member in self._members.values()), seconds
            )


def missing_error(membership: Membership, seconds: float) -> NetworkError:
    """The error for machines that have not joined in time."""
    missing = membership.missing()
    ranks = "rank " + " and ".join(map(str, missing)) if len(missing) < 3 else f"{len(missing)} ranks"
    have = membership.nodes - len(missing)
    return NetworkError(
        f"{have} of {membership.nodes} machines are there: {ranks} has not joined within {seconds:.0f} s",
        "Type pixtral join there, or lower --nodes",
    )
