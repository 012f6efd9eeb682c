"""Who may join, who is there, and who is lost."""

from dataclasses import dataclass, field, replace

import pytest

from pixtral_cli.engines.vllm.cluster.machine import Machine
from pixtral_cli.engines.vllm.cluster.membership import Membership, UnknownMember, missing_error
from pixtral_cli.errors import ModelError, PixtralError, UsageError

FIRST = Machine("one", {"pixtral": "1", "vllm": "0.32", "torch": "2"}, {"params.json": "aa", "tekken.json": "bb"})
SECOND = replace(FIRST, host="two", address="10.0.0.2")


@dataclass
class Told:
    now: float = 0.0
    lines: list[str] = field(default_factory=list)

    def clock(self) -> float:
        return self.now


def membership(told: Told, nodes: int = 3) -> Membership:
    return Membership(FIRST, nodes, told.lines.append, told.clock)


@pytest.mark.parametrize(
    ("rank", "machine", "kind", "why"),
    [
        (3, SECOND, UsageError, "There is no rank 3 among 3 machines"),
        (0, SECOND, UsageError, "There is no rank 0"),
        (2, replace(SECOND, versions={**FIRST.versions, "vllm": "0.33"}), UsageError, "two has vllm 0.33, and the first machine 0.32"),
        (2, replace(SECOND, versions={**FIRST.versions, "pixtral": "2"}), UsageError, "two has pixtral 2"),
        (2, replace(SECOND, versions={"pixtral": "1", "vllm": "0.32"}), UsageError, "two has torch none"),
        (2, replace(SECOND, checkpoint={"params.json": "aa", "tekken.json": "cc"}), ModelError, "its tekken.json differs from"),
        (2, replace(SECOND, checkpoint={"params.json": "aa"}), ModelError, "its tekken.json is missing there"),
        (2, replace(SECOND, checkpoint={**FIRST.checkpoint, "extra": "dd"}), ModelError, "its extra is not on"),
        (1, replace(SECOND, host="three", address="10.0.0.3"), UsageError, "Rank 1 is taken by two"),
    ],
)  # fmt: skip
def test_who_does_not_belong_is_refused_and_told_of_once(
    rank: int, machine: Machine, kind: type[PixtralError], why: str
) -> None:
    told = Told()
    members = membership(told)
    members.join(1, "first-of-them", SECOND)
    for _ in range(3):
        with pytest.raises(kind, match=why):
            members.join(rank, "another", machine)
    assert len(told.lines) == 2
    assert why in told.lines[1]
    assert members.missing() == [2]


def test_a_silent_machine_is_lost_and_comes_back() -> None:
    told = Told()
    members = membership(told)
    members.join(1, "a", SECOND)
    members.join(2, "b", replace(SECOND, host="three", address="10.0.0.3"))
    told.now = 8
    members.heartbeat(2, "b", [])
    told.now = 12
    ((member, why),) = members.detect_lost()
    assert (member.rank, why) == (1, "not a word for 10 s")
    assert members.missing() == [1]
    assert not members.detect_lost()
    members.heartbeat(1, "a", [])
    assert members.missing() == []
    assert told.lines[-1] == "Rank 1 (two (10.0.0.2)) is back"


def test_a_closed_connection_is_a_loss_unless_another_is_opened() -> None:
    told = Told()
    members = membership(told)
    members.join(1, "a", SECOND)
    members.disconnected(1, "a")
    told.now = 2
    members.heartbeat(1, "a", [])
    told.now = 6
    assert not members.detect_lost()
    members.disconnected(1, "a")
    told.now = 9.5
    ((_, why),) = members.detect_lost()
    assert why == "its pixtral join has ended"


def test_a_rank_is_free_again_for_who_was_started_anew() -> None:
    told = Told()
    members = membership(told)
    members.join(1, "a", SECOND)
    members.disconnected(1, "a")
    told.now = 4
    members.join(1, "b", SECOND)
    assert told.lines[-1].startswith("Rank 1 has joined again")
    with pytest.raises(UnknownMember):
        members.heartbeat(1, "a", [])
    assert [member.id for member, _ in members.detect_lost()] == ["a"]  # what ran on the old one is lost
    members.heartbeat(1, "b", [])


def test_whoever_has_not_joined_in_time_is_named() -> None:
    members = membership(Told(), 4)
    members.join(2, "a", SECOND)
    assert "2 of 4 machines are there: rank 1 and 3" in missing_error(members, 60).message
