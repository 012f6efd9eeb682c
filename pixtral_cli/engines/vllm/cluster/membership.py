"""Who takes part in a cluster: joins, is heard of, falls silent, leaves. Knows no HTTP and starts nothing."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pixtral_cli.engines.vllm.cluster.machine import Machine, check_same
from pixtral_cli.engines.vllm.cluster.order import Order, PartReport
from pixtral_cli.errors import NetworkError, PixtralError, UsageError
from pixtral_cli.util.sanitize import visible

MAX_SILENCE = 10.0  # seconds without a word after which a machine counts as lost
RECONNECT_TIME = 3.0  # seconds that a machine whose connection has closed has to connect again
REPEAT_TIME = 60.0  # seconds in which the same line about a refusal is not said again


@dataclass(slots=True)
class Member:
    """A machine that has joined. `id` names its `pixtral join`: another one has another."""

    rank: int
    id: str
    machine: Machine
    heard: float
    disconnected: float | None = None
    lost: bool = False
    parts: list[PartReport] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    told_end: bool = False


class UnknownMember(PixtralError):
    """A machine speaks that has not joined this cluster: it is to join again."""


class Membership:
    """The machines of a cluster of `nodes`, of which the `first` has rank 0. `note` is told a line for each event."""

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
        self._said: dict[str, float] = {}

    def join(self, rank: int, id: str, machine: Machine) -> None:
        """Take a machine in. Raises UsageError for a rank that is none or taken, and what `check_same` raises."""
        with self.changed:
            try:
                self._check(rank, id, machine)
            except PixtralError as error:
                self.refuse(f"{machine.name} is refused as rank {rank}: {error.message}")
                raise
            known = self._members.get(rank)
            if known and known.id != id and not known.lost:
                self._replaced.append(known)
            self._members[rank] = Member(rank, id, machine, self._clock())
            again = "again " if known else ""
            gpus = f", {len(machine.gpus)} GPUs" if len(machine.gpus) > 1 else ", 1 GPU" if machine.gpus else ""
            self._note(f"Rank {rank} has joined {again}from {visible(machine.name)}{gpus}")
            self.changed.notify_all()

    def _check(self, rank: int, id: str, machine: Machine) -> None:
        if not 1 <= rank < self.nodes:
            ranks = "rank 1" if self.nodes == 2 else f"ranks 1 to {self.nodes - 1}"
            raise UsageError(f"There is no rank {rank} among {self.nodes} machines", f"The others have {ranks}")
        known = self._members.get(rank)
        if known and known.id != id and self._present(known):
            raise UsageError(f"Rank {rank} is taken by {known.machine.name}", "Give each machine a rank of its own")
        check_same(self.first, machine)

    def refuse(self, line: str) -> None:
        """Tell of a refusal; the same one again only after a while."""
        now = self._clock()
        self._said = {said: at for said, at in self._said.items() if now - at < REPEAT_TIME}
        if line not in self._said and len(self._said) < 100:
            self._said[line] = now
            self._note(visible(line))

    def beat(self, rank: int, id: str, parts: Sequence[PartReport]) -> tuple[list[Order], bool]:
        """A word from a machine; returns what it is to run, and whether the cluster ends. Raises UnknownMember."""
        with self.changed:
            member = self._members.get(rank)
            if member is None or member.id != id:
                raise UnknownMember("This machine has not joined", "It joins again")
            member.heard, member.disconnected = self._clock(), None
            member.parts = list(parts)
            if member.lost:
                member.lost = False
                self._note(f"Rank {rank} ({visible(member.machine.name)}) is back")
            member.told_end = member.told_end or self.ending
            self.changed.notify_all()
            return ([] if self.ending else list(member.orders)), self.ending

    def disconnected(self, rank: int, id: str) -> None:
        """The connection of a machine was closed from its end."""
        with self.changed:
            member = self._members.get(rank)
            if member and member.id == id and member.disconnected is None:
                member.disconnected = self._clock()

    def report_unreachable(self, rank: int, id: str, other: int) -> None:
        """A machine has found that it cannot reach another."""
        with self.changed:
            if (member := self._members.get(rank)) and member.id == id:
                there = self.first if other == 0 else self._members[other].machine if other in self._members else None
                name = visible(there.name) if there else "?"
                self.refuse(
                    f"Rank {rank} ({member.machine.name}) cannot connect to rank {other} ({name}):"
                    " a firewall between them must let TCP through"
                )

    def lose_silent(self) -> list[tuple[Member, str]]:
        """The machines that have been lost since the last call, and why."""
        with self.changed:
            lost = [(member, "its pixtral join was started anew") for member in self._replaced]
            self._replaced.clear()
            for member in self._members.values():
                if not member.lost and not self._present(member):
                    member.lost, member.parts = True, []
                    gone = member.disconnected is not None
                    why = "its pixtral join has ended" if gone else f"not a word for {MAX_SILENCE:.0f} s"
                    lost.append((member, why))
        return lost

    def _present(self, member: Member) -> bool:
        now = self._clock()
        if member.disconnected is not None and now - member.disconnected > RECONNECT_TIME:
            return False
        return now - member.heard <= MAX_SILENCE

    def members(self) -> dict[int, Member]:
        """Those that have joined and are not lost."""
        with self.changed:
            return {rank: member for rank, member in sorted(self._members.items()) if not member.lost}

    def missing(self) -> list[int]:
        """The ranks that nobody has."""
        present = self.members()
        return [rank for rank in range(1, self.nodes) if rank not in present]

    def give(self, orders: dict[int, list[Order]]) -> None:
        """What each machine is to run from now on."""
        with self.changed:
            for rank, member in self._members.items():
                member.orders = orders.get(rank, [])

    def end(self, seconds: float) -> None:
        """Tell all machines that the cluster ends; wait so long for them to have heard it."""
        with self.changed:
            self.ending = True
            self.changed.wait_for(
                lambda: all(member.told_end or member.lost for member in self._members.values()), seconds
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
