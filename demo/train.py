"""Train the demo model: two processes with a thread each, two that draw ahead; one process on a GPU.

    python -m demo.train --name NAME --minutes 600 [--init FOLDER] [--device cuda]

State lies in runs/NAME: state.pt to go on from (a second start with the same name does), export/ in mistral format, log.jsonl
for the curves. SIGTERM saves, exports and ends.
"""

import argparse
import json
import os
import shutil
import signal
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from demo import tokenizer as tokens
from demo.drawing import fonts
from demo.encoding import Batch, draw_batch, draw_seen
from demo.export import export, restore
from demo.families import FAMILIES
from demo.fused import parts
from demo.grow import adopt
from demo.heads import fit
from demo.objective import losses, right_answers
from demo.optimizer import Optimizer
from demo.twin import Shape, Twin

RUNS = Path("runs")
HELD_OUT_SEED = 10_000_000  # training seeds stay below
WARM_UP = 40  # steps
HEADS_BATCHES = 36  # that new training heads are fitted to
AUXILIARY = 0.8
# glibc, in the processes that are started: freed memory is used again in place of being given back and asked for anew
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 33)}


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run was asked to do."""

    name: str
    minutes: float
    rate: float
    batch: int  # samples in a micro-batch, all of one family on the same grids
    batches: int  # micro-batches of a process in a step
    evaluate_every: float  # minutes
    init: Path | None
    device: str
    grow: Shape
    eyes: bool = False  # learn to see alone: pictures without questions
    eyes_rate: float = 1.0  # the part of the rate that the vision encoder learns at
    processes: int = 2  # that train, on a CPU
    held_out: int = 4  # batches of each family that are kept for the evaluations
    compiled: bool = False  # the element-wise parts

    @property
    def folder(self) -> Path:
        return RUNS / self.name

    @property
    def world(self) -> int:
        return self.processes if self.device == "cpu" else 1

    def rate_at(self, progress: float, step: int) -> float:
        """Warm up, hold, and fall over the last half."""
        return self.rate * min(1.0, (step + 1) / WARM_UP) * min(1.0, max(0.02, (1 - progress) / 0.5))


def draw_ahead(queue: Any, folder: Path, batch: int, seed: int, plan: int, eyes: bool) -> None:
    """A drawing process: put batches on the queue for ever. Those of one `plan` draw batches that cost the same."""
    torch.set_num_threads(1)
    rng, together, tokenizer = Random(seed), Random(plan), tokens.Tokenizer(folder)
    while True:
        drawn = draw_seen(rng, tokenizer, batch, together) if eyes else draw_batch(rng, tokenizer, batch, plan=together)
        queue.put(drawn)


class Average:
    """An exponential moving average of the weights: what is evaluated and exported."""

    def __init__(self, twin: Twin) -> None:
        self.weights = {name: weight.clone() for name, weight in twin.state_dict().items()}

    @torch.no_grad()
    def follow(self, twin: Twin, step: int) -> None:
        keep = min(0.995, step / (step + 20))
        now = twin.state_dict()
        torch._foreach_lerp_(list(self.weights.values()), [now[name] for name in self.weights], 1 - keep)


class Trainer:
    """One process's share of a run."""

    def __init__(self, plan: Plan, rank: int) -> None:
        self.plan, self.rank = plan, rank
        self.tokenizer = tokens.Tokenizer(plan.folder)
        self.twin, new_heads = build(plan, self.tokenizer.size)
        self.twin.to(plan.device)
        if new_heads and not (plan.folder / "state.pt").exists():
            rng = Random(HELD_OUT_SEED + 1)
            fit(self.twin, [draw_batch(rng, self.tokenizer, plan.batch) for _ in range(HEADS_BATCHES)])
        if plan.eyes:
            self.twin.only_eyes()
        self.optimizer = Optimizer(self.twin, {"vision_encoder": plan.eyes_rate})
        self.average = Average(self.twin)
        self.parameters = [parameter for parameter in self.twin.parameters() if parameter.requires_grad]
        self.step, self.spent, self.images, self.questions = 0, 0.0, 0, 0
        self.recent: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
        self.stop = False  # all processes have agreed to
        self.asked = False  # this one was told to
        self._resume()
        self._began = time.monotonic()

    @property
    def progress(self) -> float:
        return min(1.0, self.spent / (self.plan.minutes * 60))

    def run(self, queue: Any, held_out: list[Batch]) -> None:
        signal.signal(signal.SIGTERM, self._end)
        self._began = time.monotonic() - self.spent
        next_evaluation = self.spent / 60 + self.plan.evaluate_every
        while self.progress < 1 and not self.stop:
            self.one_step([queue.get() for _ in range(self.plan.batches)])
            if self.step % 20 == 0:
                self._tell()
            if self.spent / 60 >= next_evaluation:
                next_evaluation = self.spent / 60 + self.plan.evaluate_every
                self.checkpoint(held_out)
        self.checkpoint(held_out)

    def one_step(self, batches: list[Batch]) -> None:
        for batch in batches:
            with torch.autocast(self.plan.device.split(":")[0], torch.bfloat16):
                loss = losses(self.twin, batch)
            weight = AUXILIARY * (1 - 0.7 * self.progress) if batch.target.any() else 1.0
            ((loss.answers + weight * loss.auxiliary) / len(batches)).backward()  # type: ignore[no-untyped-call]
            self._count(batch, loss.answers.item(), loss.auxiliary.item(), loss.right.float().mean().item())
        self._agree()
        self.optimizer.step(self.plan.rate_at(self.progress, self.step))
        self.twin.zero_grad(set_to_none=True)
        self.step += 1
        self.average.follow(self.twin, self.step)

    def _agree(self) -> None:
        """Average the gradients over the processes; the clock and the wish to stop travel with them."""
        here = torch.tensor([time.monotonic() - self._began, float(self.asked)], device=self.plan.device)
        if self.plan.world == 1:
            self.spent, self.stop = here[0].item(), self.asked
            return
        flat = torch.cat([_gradient(p).flatten() for p in self.parameters] + [here])
        dist.all_reduce(flat)
        flat /= self.plan.world
        at = 0
        for parameter in self.parameters:
            parameter.grad = flat[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()
        self.spent, self.stop = flat[-2].item(), flat[-1].item() > 0

    def checkpoint(self, held_out: list[Batch]) -> None:
        """Evaluate the averaged weights on held-out samples; the first process writes state, export and log."""
        began = time.monotonic()
        living = {name: weight.clone() for name, weight in self.twin.state_dict().items()}
        self.twin.load_state_dict(self.average.weights)
        counts = gather(right_answers(self.twin, held_out[self.rank :: self.plan.world]), self.plan.world)
        self.twin.load_state_dict(living)
        if self.rank == 0:
            self._log({"right": {kind: counts[kind] for kind in sorted(counts)}})
            self._save()
            export(self.average.weights, self.twin.shape, self.plan.folder / "tekken.json", self.plan.folder / "export")
        self._began += time.monotonic() - began

    def _save(self) -> None:
        state = {
            "weights": self.twin.state_dict(), "average": self.average.weights, "optimizer": self.optimizer.state_dict(),
            "shape": self.twin.shape.record(), "step": self.step, "spent": self.spent, "images": self.images,
            "questions": self.questions,
        }  # fmt: skip
        torch.save(state, self.plan.folder / "state.part")
        (self.plan.folder / "state.part").replace(self.plan.folder / "state.pt")

    def _resume(self) -> None:
        path = self.plan.folder / "state.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location=self.plan.device)
        self.twin.load_state_dict(state["weights"])
        self.average.weights = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.spent = state["step"], state["spent"]
        self.images, self.questions = state["images"], state["questions"]

    def _end(self, *_: object) -> None:
        self.asked = True

    def _count(self, batch: Batch, answers: float, auxiliary: float, right: float) -> None:
        self.images += len(batch.ids) * len(batch.grids) * self.plan.world
        self.questions += sum(map(len, batch.answers)) * self.plan.world
        recent = self.recent[batch.family]
        for i, value in enumerate((1.0, answers, auxiliary, right)):
            recent[i] = 0.95 * recent[i] + 0.05 * value

    def _tell(self) -> None:
        if self.rank == 0:
            seen = {name: [round(v / r[0], 3) for v in r[1:]] for name, r in sorted(self.recent.items())}
            self._log({"rate": self.plan.rate_at(self.progress, self.step), "loss": seen})

    def _log(self, entry: dict[str, Any]) -> None:
        head = {
            "minute": round(self.spent / 60, 2),
            "step": self.step,
            "images": self.images,
            "questions": self.questions,
        }
        with (self.plan.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(head | entry) + "\n")


def _gradient(parameter: torch.nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def gather(counts: dict[str, list[int]], world: int) -> dict[str, list[int]]:
    if world == 1:
        return counts
    parts: list[Any] = [None] * world
    dist.all_gather_object(parts, counts)
    total: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for part in parts:
        for kind, (right, asked) in part.items():
            total[kind] = [total[kind][0] + right, total[kind][1] + asked]
    return dict(total)


def build(plan: Plan, vocabulary: int) -> tuple[Twin, bool]:
    """A new model, or one grown from a run or an exported checkpoint; whether that one lacks the training heads."""
    torch.manual_seed(0)
    twin = Twin(plan.grow, vocabulary)
    if plan.init is None:
        return twin, False
    weights = start_from(plan.init)
    adopt(twin, weights, tokens.token_bytes(plan.init), tokens.token_bytes(plan.folder))
    head = weights.get("aux_patch.weight")
    return twin, head is None or head.shape != twin.aux_patch.weight.shape


def start_from(folder: Path) -> dict[str, Tensor]:
    """The averaged weights of a run, its training heads among them; or those of an export, which has none."""
    if (folder / "state.pt").exists():
        return dict(torch.load(folder / "state.pt", weights_only=True, map_location="cpu")["average"])
    return restore(folder)[1]


def held_out_batches(tokenizer: tokens.Tokenizer, batch: int, each: int) -> list[Batch]:
    rng = Random(HELD_OUT_SEED)
    return [draw_batch(rng, tokenizer, batch, name) for name in FAMILIES for _ in range(each)]


def work(rank: int, plan: Plan, port: int) -> None:
    """One training process with its own drawing process."""
    torch.set_num_threads(1)
    if plan.compiled:
        parts.compile()
    if plan.world > 1:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=plan.world)
    trainer = Trainer(plan, rank)
    queue = mp.get_context("spawn").Queue(12)
    painters = 1 if plan.device == "cpu" else max(1, (os.cpu_count() or 2) - 1)
    first = trainer.step * 64 % HELD_OUT_SEED
    tasks = [(queue, plan.folder, plan.batch, first + rank * 32 + i + 1, first + i, plan.eyes) for i in range(painters)]
    drawing = [mp.get_context("spawn").Process(target=draw_ahead, args=task, daemon=True) for task in tasks]
    for process in drawing:
        process.start()
    trainer.run(queue, held_out_batches(trainer.tokenizer, plan.batch, plan.held_out))
    for process in drawing:
        process.terminate()


def read_plan() -> Plan:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="demo")
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("--rate", type=float, default=2.5e-3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--batches", type=int, default=3)
    parser.add_argument("--evaluate-every", type=float, default=10)
    parser.add_argument("--init", type=Path, help="a run, or a checkpoint in mistral format, to grow from")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vision-layers", type=int, default=4)
    parser.add_argument("--vision-heads", type=int, default=5, help="of 32 dimensions each")
    parser.add_argument("--vision-hidden", type=int, default=448)
    parser.add_argument("--eyes", action="store_true", help="learn to see alone, from pictures without questions")
    parser.add_argument("--eyes-rate", type=float, default=1.0, help="the part of the rate at which the encoder learns")
    parser.add_argument("--processes", type=int, default=2, help="that train at once, on a CPU")
    parser.add_argument("--held-out", type=int, default=4, help="batches of each family for the evaluations")
    parser.add_argument("--compile", action="store_true", help="the element-wise parts; needs a C++ compiler")
    given = parser.parse_args()
    grow = Shape(
        vision_dim=32 * given.vision_heads,
        vision_layers=given.vision_layers,
        vision_heads=given.vision_heads,
        vision_hidden=given.vision_hidden,
        layers=given.layers,
    )
    return Plan(
        given.name,
        given.minutes,
        given.rate,
        given.batch,
        given.batches,
        given.evaluate_every,
        given.init,
        given.device,
        grow,
        given.eyes,
        given.eyes_rate,
        given.processes,
        given.held_out,
        given.compile,
    )


def _vocabulary(plan: Plan) -> None:
    """That of what the run grows from; a new run's is cut. A name in a picture has to stay in letters."""
    if plan.init is not None and (plan.init / "tekken.json").exists():
        plan.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(plan.init / "tekken.json", plan.folder / "tekken.json")
    else:
        tokens.cut(plan.folder)


def main() -> None:
    plan = read_plan()
    fonts.check()
    if not (plan.folder / "tekken.json").exists():
        _vocabulary(plan)
    for name, value in KEEP_MEMORY.items():
        os.environ.setdefault(name, value)
    port = 29_400 + os.getpid() % 500
    context = mp.get_context("spawn")
    processes = [context.Process(target=work, args=(rank, plan, port)) for rank in range(plan.world)]
    for process in processes:
        process.start()

    def pass_on(*_: object) -> None:
        for process in processes:
            process.terminate()

    signal.signal(signal.SIGTERM, pass_on)
    for process in processes:
        process.join()


if __name__ == "__main__":
    main()
