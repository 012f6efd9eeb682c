"""How replicas lie on machines: what was asked for, what the machines have, and what cannot be."""

import pytest

from pixtral_cli.engines.vllm.cluster.arrangement import ModelShape, Parallelism, Replica, arrange, check_request
from pixtral_cli.engines.vllm.cluster.machine import Machine
from pixtral_cli.errors import UsageError

GB = 1 << 30
PIXTRAL = ModelShape(heads=32, kv_heads=8, vision_heads=16, layers=40, weight_bytes=25 * GB)
LARGE = ModelShape(heads=96, kv_heads=8, vision_heads=16, layers=88, weight_bytes=250 * GB)


def machines(count: int, gpus: int, memory: int = 80 * GB) -> list[Machine]:
    return [
        Machine(f"host{n}", gpus=tuple(map(str, range(gpus))), gpu_memory=memory if gpus else 0) for n in range(count)
    ]


def shape(replicas: list[Replica]) -> tuple[int, int, int, int, int]:
    """Replicas, machines of each, tensor, pipeline, and replicas on each machine."""
    first = replicas[0]
    return len(replicas), len(first.ranks), first.tensor, first.pipeline, first.slots


@pytest.mark.parametrize(
    ("nodes", "gpus", "wanted", "model", "expected"),
    [
        (2, 0, Parallelism(2), PIXTRAL, (2, 1, 1, 1, 1)),  # without a GPU: one replica a machine
        (2, 0, Parallelism(2, replicas=1), PIXTRAL, (1, 2, 2, 1, 1)),
        (2, 0, Parallelism(2, tensor=2), PIXTRAL, (1, 2, 2, 1, 1)),
        (4, 0, Parallelism(4, tensor=2), PIXTRAL, (2, 2, 2, 1, 1)),
        (1, 0, Parallelism(1, replicas=2), PIXTRAL, (2, 1, 1, 1, 2)),
        (2, 8, Parallelism(2), PIXTRAL, (16, 1, 1, 1, 8)),  # the model fits one GPU
        (2, 8, Parallelism(2, tensor=2), PIXTRAL, (8, 1, 2, 1, 4)),
        (2, 8, Parallelism(2, replicas=2), PIXTRAL, (2, 1, 8, 1, 1)),
        (2, 8, Parallelism(2, replicas=4), PIXTRAL, (4, 1, 4, 1, 2)),
        (1, 8, Parallelism(1, replicas=8), PIXTRAL, (8, 1, 1, 1, 8)),
        (2, 8, Parallelism(2, tensor=8, pipeline=2), PIXTRAL, (1, 2, 8, 2, 1)),
        (4, 8, Parallelism(4, tensor=8, pipeline=2), PIXTRAL, (2, 2, 8, 2, 1)),
        (2, 8, Parallelism(2), LARGE, (2, 1, 8, 1, 1)),  # 250 GB fit eight GPUs of 80
        (2, 4, Parallelism(2), LARGE, (1, 2, 4, 2, 1)),  # and not four: one stage a machine
        (2, 3, Parallelism(2, replicas=2), PIXTRAL, (2, 1, 2, 1, 1)),  # three GPUs do not divide 32 heads
    ],
)
def test_replicas_lie_as_the_machines_allow(
    nodes: int, gpus: int, wanted: Parallelism, model: ModelShape, expected: tuple[int, int, int, int, int]
) -> None:
    check_request(wanted, model)
    found = arrange(machines(nodes, gpus), wanted, model)
    assert shape(found) == expected
    places = [(rank, replica.slot) for replica in found for rank in replica.ranks]
    assert len(set(places)) == len(places)
    assert {rank for rank, _ in places} == set(range(nodes))


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (Parallelism(2, tensor=3), "32 attention heads do not divide among 3"),
        (Parallelism(2, tensor=32), "16 vision heads do not divide among 32"),
        (Parallelism(2, pipeline=41), "40 layers make no 41 stages"),
        (Parallelism(3, replicas=2), "2 replicas do not divide among 3 machines"),
        (Parallelism(4, replicas=1, tensor=2), "2 processes do not divide among the 4 machines"),
    ],
)
def test_what_no_machine_can_do_is_refused_before_any_is_asked(wanted: Parallelism, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        check_request(wanted, PIXTRAL)


@pytest.mark.parametrize(
    ("gpus", "wanted", "why"),
    [
        (4, Parallelism(2, tensor=16), "16 processes do not fit 2 machines of 4 GPUs"),
        (4, Parallelism(2, replicas=2, tensor=8), "8 GPUs are wanted on each machine, which has 4"),
        (2, Parallelism(2, replicas=8), "4 GPUs are wanted on each machine, which has 2"),
    ],
)
def test_more_gpus_than_there_are_is_refused(gpus: int, wanted: Parallelism, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        arrange(machines(2, gpus), wanted, PIXTRAL)


def test_the_poorest_machine_decides() -> None:
    mixed = [*machines(1, 8), *machines(1, 2)]
    assert shape(arrange(mixed, Parallelism(2), PIXTRAL)) == (4, 1, 1, 1, 2)
