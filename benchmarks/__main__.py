"""`make bench`: every scenario in turn, every program in interleaved rounds; a table, and JSON in results/."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
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
    loading,
    machine,
    peers,
    plot,
    schemas,
    startup,
    tables,
)  # fmt: skip
from benchmarks.peers import Entry

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


ALL = ("five questions", "large picture", "ten turns", "thirty pages")
SETTINGS = (
    Setting("demo", "demo", 256, ("five questions", "ten turns")),
    Setting("random 0.5 B, true vocabulary", "random-500m", 512, ALL),
    Setting("two of Pixtral 12B's layers", "slice", 512, ("five questions",), large=True),
    Setting("random weights of Pixtral 12B's shape", "pixtral-12b", 0, ("short prompt",), large=True, whole=True),
)


def main() -> None:
    options = _parser().parse_args()
    if options.readme:
        report = newest()
        plot.draw(report, tables.PLOT)
        tables.write_readme(report)
        return
    report = measure(options)
    kept = RESULTS / f"{report['when'].replace(':', '')}.json"
    kept.write_text(json.dumps(report, indent=1) + "\n")
    print(tables.render(report))
    print(f"\nKept in {kept}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="+", default=list(peers.PEERS), choices=peers.PEERS, metavar="PEER")
    names = [setting.checkpoint for setting in SETTINGS]
    parser.add_argument("--settings", nargs="+", default=[], choices=names, metavar="CHECKPOINT")
    parser.add_argument(
        "--large", action="store_true", help="also Pixtral 12B's own shape: 50 GB of disk, half an hour"
    )
    parser.add_argument("--readme", action="store_true", help="measure nothing: put the last whole run into the README")
    return parser


def newest() -> dict[str, Any]:
    """The last run that left nothing out."""
    for file in sorted(RESULTS.glob("*.json"), reverse=True):
        report: dict[str, Any] = json.loads(file.read_text())
        if report.get("whole"):
            return report
    raise SystemExit(f"There is no whole run in {RESULTS}: make bench")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    wanted = [entry for entry in peers.ENTRIES if entry.peer in options.peers]
    absent = {entry.name: reason for entry in wanted if (reason := entry.missing())}
    for name, reason in absent.items():
        _tell(f"{name} is left out: {reason}")
    entries = [entry for entry in wanted if entry.name not in absent]
    chosen = [
        each
        for each in SETTINGS
        if each.checkpoint in options.settings or (each.large <= options.large and not options.settings)
    ]
    report: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%dT%H:%M"), "rounds": options.rounds, "machine": machine.describe(), "absent": absent,
        "whole": set(options.peers) == set(peers.PEERS) and not options.settings,
    }  # fmt: skip
    _tell("start-up")
    report["startup"] = startup.measure(options.rounds) | chat_start.measure(options.rounds)
    report["models"] = [(whole if each.whole else model)(each, entries, options.rounds) for each in chosen]
    return report


def model(setting: Setting, entries: Sequence[Entry], rounds: int) -> dict[str, Any]:
    """Everything about one checkpoint, which is written for it and removed after it."""
    with tempfile.TemporaryDirectory() as scratch:
        _tell(f"{setting.name}: writing it for every program")
        folder = checkpoints.write(setting.checkpoint, Path(scratch))
        for entry in entries:
            entry.prepare(folder)
        found: dict[str, Any] = {"name": setting.name, "checkpoint": setting.checkpoint, "side": setting.side}
        for talk in setting.talks:
            _tell(f"{setting.name}: {talk}")
            found[talk] = conversation.measure(entries, folder, talk, setting.side, rounds)
        _tell(f"{setting.name}: what the machine allows, and what ours does beside itself")
        found |= limits(folder, found, rounds)
        if setting.large:  # its batches and edits would say nothing new, and take long
            return found
        found["batches"] = batches.measure(entries, folder, rounds)
        if any(entry.peer == OURS for entry in entries):
            found |= {
                "follow-ups": follow_ups.measure(folder, setting.side, rounds),
                "edit": edits.measure(folder, setting.checkpoint, rounds),
                "schema": schemas.measure(folder, rounds),
                "loading": loading.measure(folder, rounds),
            }
        return found


def whole(setting: Setting, entries: Sequence[Entry], rounds: int) -> dict[str, Any]:
    """Pixtral 12B itself, once: each program's weights are on the disk only while they are measured."""
    found: dict[str, Any] = {"name": setting.name, "checkpoint": setting.checkpoint, "side": setting.side}
    with tempfile.TemporaryDirectory() as scratch:
        _tell(f"{setting.name}: writing 25 GB")
        folder = checkpoints.write(setting.checkpoint, Path(scratch))
        for talk in setting.talks:
            found[talk] = {}
            for entry in entries:
                if entry.precision in ("8bit", "4bit"):
                    _tell(f"{setting.name}: {talk}, {entry.name}")
                    peers.named(entry.peer).prepare(folder)
                    if entry.peer != OURS:  # has converted it by now
                        (folder / checkpoints.WEIGHTS).unlink(missing_ok=True)
                    entry.prepare(folder)
                    found[talk] |= conversation.measure([entry], folder, talk, setting.side, 1)
                    entry.discard(folder)
        return found | limits(folder, found, rounds)


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
