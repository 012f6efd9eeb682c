"""Arranges the replicas of a model on machines: a pure function of the machines and the requested parallelism."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixtral_cli.engines.vllm.cluster.machine import Machine
from pixtral_cli.errors import UsageError
from pixtral_cli.models import layout

# Of the GPUs' memory that weights may take where no sizes are requested; the KV cache takes the rest.
WEIGHT_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Parallelism:
    """The requested parallelism; 0 means that it is chosen.

    `tensor`: GPUs that share each layer; `pipeline`: stages of layers.
    """

    nodes: int = 1
    replicas: int = 0
    tensor: int = 0
    pipeline: int = 0


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes that limit how a model can be divided; 0 where unknown."""

    heads: int = 0
    kv_heads: int = 0
    vision_heads: int = 0
    layers: int = 0
    weight_bytes: int = 0

    @classmethod
    def of(cls, folder: Path) -> "ModelShape":
        """The sizes of the checkpoint in a folder."""
        params = layout.params(folder)
        weights = sum(file.stat().st_size for file in layout.files(folder) if file.suffix != ".json")
        vision = params.get("vision_encoder")
        heads = _count(params, "n_heads")
        return cls(
            heads, _count(params, "n_kv_heads") or heads,
            _count(vision if isinstance(vision, dict) else {}, "num_attention_heads"), _count(params, "n_layers"), weights,
        )  # fmt: skip

    def indivisible(self, tensor: int) -> str:
        """The heads that cannot be divided among `tensor` GPUs, in words; "" when all can."""
        for count, what in ((self.heads, "attention heads"), (self.vision_heads, "vision heads")):
            if count % tensor:
                return f"{count} {what}"
        divides = not self.kv_heads or self.kv_heads % tensor == 0 or tensor % self.kv_heads == 0
        return "" if divides else f"{self.kv_heads} key and value heads"


@dataclass(frozen=True, slots=True)
class Replica:
    """One vLLM over the machines `ranks`; it is number `slot` of the `slots` replicas on each of these machines."""

    number: int
    ranks: tuple[int, ...]
    tensor: int
    pipeline: int
    slot: int = 0
    slots: int = 1


def _count(table: Mapping[str, Any], name: str) -> int:
    value = table.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def check_request(requested: Parallelism, shape: ModelShape) -> None:
    """Raises UsageError for a parallelism that is impossible on any machines."""
    if requested.tensor > 1 and (what := shape.indivisible(requested.tensor)):
        raise UsageError(
            f"The model's {what} do not divide among {requested.tensor} GPUs", "Choose another --tensor-parallel-size"
        )
    if shape.layers and requested.pipeline > shape.layers:
        raise UsageError(
            f"The model's {shape.layers} layers make no {requested.pipeline} stages", "Lower --pipeline-parallel-size"
        )
    if requested.replicas and requested.replicas % requested.nodes and requested.nodes % requested.replicas:
        raise UsageError(
            f"{requested.replicas} replicas do not divide among {requested.nodes} machines",
            "Make one a multiple of the other: --replicas, --nodes",
        )
    world = max(1, requested.tensor) * max(1, requested.pipeline)
    if requested.replicas and requested.replicas < requested.nodes and (requested.tensor or requested.pipeline):
        span = requested.nodes // requested.replicas
        if world % span:
            raise UsageError(
                f"{world} {_processes(world)} do not divide among the {span} machines of a replica",
                "See --tensor-parallel-size, --pipeline-parallel-size and --replicas",
            )


def _processes(count: int) -> str:
    return "process" if count == 1 else "processes"


def arrange(machines: Sequence[Machine], requested: Parallelism, shape: ModelShape) -> list[Replica]:
    """The replicas on these machines, which are in order of rank.

    Raises UsageError when the machines have too few GPUs. A machine without a GPU counts as one device. Where no sizes
    are requested there are as many replicas as fit; a model that is larger than a machine is divided into stages, one
    for each machine.
    """
    nodes = len(machines)
    gpus = min(len(machine.gpus) for machine in machines)
    memory = min(machine.gpu_memory for machine in machines)
    if not requested.tensor and not requested.pipeline:
        requested = _choose_sizes(nodes, gpus, memory, requested, shape)
    tensor, pipeline = max(1, requested.tensor), max(1, requested.pipeline)
    world = tensor * pipeline
    replicas = requested.replicas or _most_replicas(nodes, max(1, gpus), world)
    span = max(1, nodes // replicas)
    slots = max(1, replicas // nodes)
    if gpus and world * slots > gpus * span:
        raise UsageError(
            f"{world * slots} GPUs are wanted on {'each machine' if span == 1 else f'{span} machines'},"
            f" which {'has' if span == 1 else 'have'} {gpus * span}",
            "Lower --tensor-parallel-size, --pipeline-parallel-size or --replicas",
        )
    if span > 1 and world % span:
        raise UsageError(
            f"{world} {_processes(world)} do not divide among the {span} machines of a replica",
            "See --tensor-parallel-size, --pipeline-parallel-size and --replicas",
        )
    if span > 1:
        return [
            Replica(number, tuple(range(number * span, (number + 1) * span)), tensor, pipeline)
            for number in range(replicas)
        ]
    return [Replica(number, (number // slots,), tensor, pipeline, number % slots, slots) for number in range(replicas)]


def _most_replicas(nodes: int, devices: int, world: int) -> int:
    """How many replicas of `world` processes fit on `nodes` machines of `devices` devices.

    Raises UsageError when none does.
    """
    if world <= devices:
        return nodes * (devices // world)
    for span in (span for span in range(2, nodes + 1) if nodes % span == 0):
        if world % span == 0 and world // span <= devices:
            return nodes // span
    raise UsageError(
        f"{world} processes do not fit {nodes} machines of {devices} {'GPU' if devices == 1 else 'GPUs'}",
        "Lower --tensor-parallel-size or --pipeline-parallel-size, or say --replicas",
    )


def _choose_sizes(nodes: int, gpus: int, memory: int, requested: Parallelism, shape: ModelShape) -> Parallelism:
    """The parallelism with tensor and pipeline sizes, where none are requested. `memory`: bytes of the smallest GPU."""
    span = max(1, nodes // requested.replicas) if requested.replicas else 1
    slots = max(1, requested.replicas // nodes)
    if not gpus:  # vLLM has no pipeline on CPUs
        return Parallelism(nodes, requested.replicas or nodes, span, 1)
    sizes = [size for size in range(1, gpus // slots + 1) if not shape.indivisible(size)] or [1]
    fitting = [size for size in sizes if shape.weight_bytes <= WEIGHT_SHARE * size * memory]
    if span == 1 and fitting:
        return Parallelism(nodes, requested.replicas, sizes[-1] if requested.replicas else fitting[0], 1)
    if not requested.replicas and not fitting:
        spans = [n for n in range(1, nodes + 1) if nodes % n == 0]
        large_enough = [n for n in spans if shape.weight_bytes <= WEIGHT_SHARE * n * sizes[-1] * memory]
        span = large_enough[0] if large_enough else nodes
    return Parallelism(nodes, requested.replicas or nodes // span, sizes[-1], span)
