"""`make bench`: every scenario in turn, every program in interleaved rounds; a table, and JSON in results/."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import (
    apart,
    batches,
    chat_start,
    checkpoints,
    conversation,
    edits,
    follow_ups,
    isa,
    loading,
    machine,
    parallel_answers,
    peers,
    plot,
    schemas,
    startup,
    tables,
)  # fmt: skip
from benchmarks.peers import Entry, llama_cpp
from benchmarks.scenario import TALKS
from pixtral_cli.errors import PixtralError

RESULTS = Path(__file__).parent / "results"
OURS = "pixtral"


@dataclass(frozen=True, slots=True)
class Setting:
    """One checkpoint, the side of its pictures in pixels, and the conversations about them."""

    name: str
    checkpoint: str
    side: int
    talks: tuple[str, ...]
    large: bool = False  # measured with --large, or when it is named
    whole: bool = False  # too large for bf16: one program at a time, quantized

    def about(self) -> dict[str, Any]:
        return {"name": self.name, "checkpoint": self.checkpoint, "side": self.side}


ALL = ("five questions", "large picture", "ten turns", "thirty pages")
LARGEST = "pixtral-12b"
SETTINGS = (
    Setting("demo", "demo", 256, ("five questions", "ten turns")),
    Setting("random 0.5 B, true vocabulary", "random-500m", 512, ALL),
    Setting("random weights of Ministral 3 3B's shape", "ministral-3b", 1024, ("one picture",), large=True),
    Setting(
        "random weights of Ministral 3 3B's shape in FP8, as it is published",
        "ministral-3b-fp8",
        1024,
        ("one picture",),
        large=True,
    ),
    Setting("two of Pixtral 12B's layers", "slice", 512, ("five questions",), large=True),
    Setting("random weights of Pixtral 12B's shape", LARGEST, 0, ("short prompt",), large=True, whole=True),
)


def main() -> None:
    options = _parser().parse_args()
    if options.isa and not isa.held():  # torch has been imported by now: begin again
        isa.hold(options.isa)
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:]])
    if options.docs:
        whole, *others = documented()
        plot.draw(whole, tables.PLOT)
        tables.write_document(whole, *others)
        return
    report = measure(options)
    file = RESULTS / f"{report['when'].replace(':', '')}.json"
    file.write_text(json.dumps(report, indent=1) + "\n")
    print(tables.render(report))
    print(f"\nKept in {file}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="+", default=list(peers.PEERS), choices=peers.PEERS, metavar="PEER")
    names = [setting.checkpoint for setting in SETTINGS]
    parser.add_argument("--settings", nargs="+", default=[], choices=names, metavar="CHECKPOINT")
    parser.add_argument(
        "--talks", nargs="+", default=list(TALKS), choices=TALKS, metavar="TALK", help="only these conversations"
    )
    parser.add_argument("--isa", choices=list(isa.TORCH), help="hold every program to this instruction set")
    parser.add_argument(
        "--large",
        action="store_true",
        help="also the true shapes of Ministral 3 3B and Pixtral 12B: 50 GB of disk, an hour",
    )
    parser.add_argument(
        "--docs",
        action="store_true",
        help="measure nothing: write the last whole run, and the largest model's, into docs/benchmarks.md",
    )
    return parser


def documented() -> list[dict[str, Any]]:
    """The runs that docs/benchmarks.md shows: the newest whole one, and of each large checkpoint the newest that measured it."""
    whole = next(kept(lambda run: run.get("whole", False)), None)
    if not whole:
        raise SystemExit(f"There is no whole run in {RESULTS}: make bench")
    large = [setting.checkpoint for setting in SETTINGS if setting.large]
    newest = [next(kept(lambda run: name in _checkpoints(run)), None) for name in large]  # noqa: B023  used at once
    return [whole, *{run["when"]: run for run in newest if run}.values()]


def _checkpoints(run: Mapping[str, Any]) -> list[str]:
    return [model.get("checkpoint", "") for model in run["models"]]


def kept(fits: Callable[[dict[str, Any]], bool]) -> Iterator[dict[str, Any]]:
    """The runs that do, the newest first."""
    for file in sorted(RESULTS.glob("*.json"), reverse=True):
        report = json.loads(file.read_text())
        if fits(report):
            yield report


def measure(options: argparse.Namespace) -> dict[str, Any]:
    wanted = [entry for entry in peers.ENTRIES if entry.peer in options.peers]
    absent = {entry.name: reason for entry in wanted if (reason := entry.missing())}
    for name, reason in absent.items():
        _tell(f"{name} is left out: {reason}")
    bench = Bench([entry for entry in wanted if entry.name not in absent], options.rounds, absent, options.talks)
    named = [each for each in SETTINGS if each.checkpoint in options.settings]
    _tell("start-up")
    starts = startup.measure(options.rounds) | chat_start.measure(options.rounds)
    usual = [each for each in SETTINGS if options.large or not each.large]
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M"), "rounds": options.rounds, "machine": machine.describe(), "absent": absent,
        "isa": isa.held(),
        "whole": set(options.peers) == set(peers.PEERS) and set(options.talks) == set(TALKS) and not named and not isa.held(),
        "startup": starts,
        "models": [(bench.whole if each.whole else bench.model)(each) for each in named or usual],
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bench:
    """The programs that are measured, and why others, or parts of these, are not."""

    entries: Sequence[Entry]
    rounds: int
    absent: dict[str, str]
    talks: Sequence[str] = tuple(TALKS)

    def model(self, setting: Setting) -> dict[str, Any]:
        """Everything about one checkpoint, which is written for it and removed after it."""
        with tempfile.TemporaryDirectory() as scratch:
            _tell(f"{setting.name}: writing it for every program")
            folder = checkpoints.write(setting.checkpoint, Path(scratch))
            ready = [entry for entry in self.entries if self._prepared(entry, folder)]
            found = setting.about()
            for talk in (talk for talk in setting.talks if talk in self.talks):
                _tell(f"{setting.name}: {talk}")
                found[talk] = conversation.measure(ready, folder, talk, setting.side, self.rounds, self.absent)
            found["llama-bench"] = self._llama_bench(ready, folder)
            _tell(f"{setting.name}: what the machine allows, and what ours does beside itself")
            found |= limits(folder, found, self.rounds)
            return found if setting.large else found | self._more(setting, ready, folder)

    def _llama_bench(self, ready: Sequence[Entry], folder: Path) -> dict[str, dict[str, float]]:
        """Of each precision the best rates that llama.cpp's own benchmark says: its server is slower."""
        found: dict[str, dict[str, float]] = {}
        for precision in (entry.precision for entry in ready if entry.peer == "llama.cpp"):
            if precision not in ("bf16", *llama_cpp.FORMATS):
                continue
            _tell(f"{folder.name}: llama-bench, {precision}")
            try:
                runs = [llama_cpp.bench(folder, precision, 512, 64) for _ in range(self.rounds)]
            except subprocess.CalledProcessError as error:
                self.absent[f"llama-bench {precision}, {folder.name}"] = str(error)
                continue
            found[precision] = {rate: max(run[rate] for run in runs) for rate in runs[0]}
        return found

    def _prepared(self, entry: Entry, folder: Path) -> bool:
        try:
            entry.prepare(folder)
        except (RuntimeError, PixtralError) as error:
            self.absent[f"{entry.name}, {folder.name}"] = str(error)
            return False
        return True

    def _more(self, setting: Setting, ready: Sequence[Entry], folder: Path) -> dict[str, Any]:
        found: dict[str, Any] = {"batches": batches.measure(ready, folder, self.rounds, self.absent)}
        beside: dict[str, Callable[[], dict[str, float]]] = {
            "follow-ups": lambda: follow_ups.measure(folder, setting.side, self.rounds),
            "edit": lambda: edits.measure(folder, setting.checkpoint, self.rounds),
            "schema": lambda: schemas.measure(folder, self.rounds),
            "parallel answers": lambda: parallel_answers.measure(folder, self.rounds),
            "loading": lambda: loading.measure(folder, self.rounds),
        }
        for name, work in beside.items():
            if any(entry.peer == OURS for entry in ready):
                try:
                    found[name] = work()
                except apart.Failed as error:
                    self.absent[f"{name}, {setting.name}"] = str(error)
        return found

    def whole(self, setting: Setting) -> dict[str, Any]:
        """Pixtral 12B itself, once: each program's weights are on the disk only while they are measured."""
        found = setting.about() | {talk: {} for talk in setting.talks}
        with tempfile.TemporaryDirectory() as scratch:
            _tell(f"{setting.name}: writing 25 GB")
            folder = checkpoints.write(setting.checkpoint, Path(scratch))
            for entry in self.entries:
                if entry.precision in ("8bit", "4bit") and self._prepared(peers.named(entry.peer), folder):
                    if entry.peer != OURS:  # has converted it by now
                        (folder / checkpoints.WEIGHTS).unlink(missing_ok=True)
                    if self._prepared(entry, folder):
                        for talk in setting.talks:
                            _tell(f"{setting.name}: {talk}, {entry.name}")
                            found[talk] |= conversation.measure([entry], folder, talk, setting.side, 1, self.absent)
                    entry.discard(folder)
            return found | limits(folder, found, self.rounds)


def limits(folder: Path, found: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    """The best of several rounds, and what computing with this model takes of it."""
    runs = [apart.call("benchmarks.limits:measure", folder) for _ in range(rounds)]
    shape = checkpoints.shape(folder)
    pages = found.get("thirty pages", {}).get(OURS)
    return {
        "limits": {key: max(run[key] for run in runs) for key in runs[0]}, "kv": shape.kv_bytes,
        "operations": shape.prefill(pages["prompt"][0]) if pages else 0.0,
    }  # fmt: skip


def _tell(doing: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {doing}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
