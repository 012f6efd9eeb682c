"""How the replicas of a model lie on the machines: a pure function of what they have and what was asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixtral_cli.engines.vllm.cluster.machine import Machine
from pixtral_cli.errors import UsageError
from pixtral_cli.models import layout

WEIGHT_SHARE = 0.6  # of the GPUs' memory that weights may take when we choose; the rest is for the KV cache


@dataclass(frozen=True, slots=True)
class Parallelism:
    """What was asked for; 0 leaves it to us. `tensor` GPUs share each layer, `pipeline` stages hold layers of their own."""

    nodes: int = 1
    replicas: int = 0
    tensor: int = 0
    pipeline: int = 0


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What decides how a model can be divided: attention heads, KV heads, the vision encoder's, layers, bytes of weights."""

    heads: int = 0
    kv_heads: int = 0
    vision_heads: int = 0
    layers: int = 0
    weight_bytes: int = 0

    @classmethod
    def of(cls, folder: Path) -> "ModelShape":
        params = layout.params(folder)
        weights = sum(file.stat().st_size for file in layout.files(folder) if file.suffix != ".json")
        vision = params.get("vision_encoder")
        heads = _count(params, "n_heads")
        return cls(
            heads, _count(params, "n_kv_heads") or heads,
            _count(vision if isinstance(vision, dict) else {}, "num_attention_heads"), _count(params, "n_layers"), weights,
        )  # fmt: skip

    def indivisible(self, tensor: int) -> str:
        """What does not divide among so many GPUs, in words; "" when all does."""
        for count, what in ((self.heads, "attention heads"), (self.vision_heads, "vision heads")):
            if count % tensor:
                return f"{count} {what}"
        divides = not self.kv_heads or self.kv_heads % tensor == 0 or tensor % self.kv_heads == 0
        return "" if divides else f"{self.kv_heads} key and value heads"


@dataclass(frozen=True, slots=True)
class Replica:
    """One vLLM that answers by itself: over the machines `ranks`, as number `slot` of the `slots` on each of them."""

    number: int
    ranks: tuple[int, ...]
    tensor: int
    pipeline: int
    slot: int = 0
    slots: int = 1


def _count(table: Mapping[str, Any], name: str) -> int:
    value = table.get(name)
    return value if isinstance(value, int) and value > 0 else 0


def check_request(wanted: Parallelism, shape: ModelShape) -> None:
    """Raises UsageError for what cannot be, whatever the machines have."""
    if wanted.tensor > 1 and (what := shape.indivisible(wanted.tensor)):
        raise UsageError(
            f"The model's {what} do not divide among {wanted.tensor} GPUs", "Choose another --tensor-parallel-size"
        )
    if shape.layers and wanted.pipeline > shape.layers:
        raise UsageError(
            f"The model's {shape.layers} layers make no {wanted.pipeline} stages", "Lower --pipeline-parallel-size"
        )
    if wanted.replicas and wanted.replicas % wanted.nodes and wanted.nodes % wanted.replicas:
        raise UsageError(
            f"{wanted.replicas} replicas do not divide among {wanted.nodes} machines",
            "Make one a multiple of the other: --replicas, --nodes",
        )
    world = max(1, wanted.tensor) * max(1, wanted.pipeline)
    if wanted.replicas and wanted.replicas < wanted.nodes and (wanted.tensor or wanted.pipeline):
        span = wanted.nodes // wanted.replicas
        if world % span:
            raise UsageError(
                f"{world} {_processes(world)} do not divide among the {span} machines of a replica",
                "See --tensor-parallel-size, --pipeline-parallel-size and --replicas",
            )


def _processes(count: int) -> str:
    return "process" if count == 1 else "processes"


def arrange(machines: Sequence[Machine], wanted: Parallelism, shape: ModelShape) -> list[Replica]:
    """The replicas over these machines, in order of rank. Raises UsageError when they cannot hold what was asked for.

    A machine without a GPU counts as one device, and may be asked for more. Without flags: as many replicas as there is
    room for; a model that is larger than a machine is cut into stages, one a machine.
    """
    nodes = len(machines)
    gpus = min(len(machine.gpus) for machine in machines)
    memory = min(machine.gpu_memory for machine in machines)
    if not wanted.tensor and not wanted.pipeline:
        wanted = _chosen(nodes, gpus, memory, wanted, shape)
    tensor, pipeline = max(1, wanted.tensor), max(1, wanted.pipeline)
    world = tensor * pipeline
    replicas = wanted.replicas or _most_replicas(nodes, max(1, gpus), world)
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
    """How many replicas of `world` processes fit on machines of so many devices."""
    if world <= devices:
        return nodes * (devices // world)
    for span in (span for span in range(2, nodes + 1) if nodes % span == 0):
        if world % span == 0 and world // span <= devices:
            return nodes // span
    raise UsageError(
        f"{world} processes do not fit {nodes} machines of {devices} {'GPU' if devices == 1 else 'GPUs'}",
        "Lower --tensor-parallel-size or --pipeline-parallel-size, or say --replicas",
    )


def _chosen(nodes: int, gpus: int, memory: int, wanted: Parallelism, shape: ModelShape) -> Parallelism:
    """Tensor and pipeline sizes where none were given."""
    span = max(1, nodes // wanted.replicas) if wanted.replicas else 1
    slots = max(1, wanted.replicas // nodes)
    if not gpus:  # vLLM has no pipeline on CPUs
        return Parallelism(nodes, wanted.replicas or nodes, span, 1)
    sizes = [size for size in range(1, gpus // slots + 1) if not shape.indivisible(size)] or [1]
    fits = [size for size in sizes if shape.weight_bytes <= WEIGHT_SHARE * size * memory]
    if span == 1 and fits:
        return Parallelism(nodes, wanted.replicas, sizes[-1] if wanted.replicas else fits[0], 1)
    if not wanted.replicas and not fits:
        spans = [n for n in range(1, nodes + 1) if nodes % n == 0]
        room = [n for n in spans if shape.weight_bytes <= WEIGHT_SHARE * n * sizes[-1] * memory]
        span = room[0] if room else nodes
    return Parallelism(nodes, wanted.replicas or nodes // span, sizes[-1], span)
