"""`make bench`: start-up, then one conversation by every program in interleaved rounds; a table, and JSON in results/."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import batches, chat_start, machine, startup, tables, ten_turns

LATEST = Path(__file__).parent / "results" / "latest.json"
PEERS = ("pixtral", "pixtral_system", "mistral_inference", "transformers")


@dataclass(frozen=True, slots=True)
class Setting:
    """One checkpoint and the conversation it is given: the picture's side in pixels, tokens an answer."""

    name: str
    checkpoint: str
    side: int
    tokens: int


SETTINGS = (Setting("demo", "demo", 256, 32), Setting("random 0.2 B, true vocabulary", "random-200m", 512, 32))
LONG_ROUNDS = 3  # at most, of what takes minutes


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    parser.add_argument("--settings", nargs="+", default=[setting.checkpoint for setting in SETTINGS])
    parser.add_argument("--readme", action="store_true", help="measure nothing: put the last report into the README")
    options = parser.parse_args()
    if options.readme:
        tables.write_readme(json.loads(LATEST.read_text()))
        return
    starts = startup.measure(options.rounds) | chat_start.measure(options.rounds)
    report: dict[str, Any] = {"machine": machine.describe(), "startup": starts, "models": []}
    for setting in SETTINGS:
        if setting.checkpoint in options.settings:
            programs = conversation(setting, options.peers, options.rounds)
            report["models"].append({"name": setting.name, "side": setting.side, "programs": programs})
            report["models"][-1]["ten turns"] = ten_turns_of(setting, min(options.rounds, LONG_ROUNDS))
            report["models"][-1]["batches"] = batches_of(setting, min(options.rounds, LONG_ROUNDS))
    LATEST.parent.mkdir(exist_ok=True)
    LATEST.write_text(json.dumps(report, indent=1) + "\n")
    print(tables.render(report))


def conversation(setting: Setting, peers: Sequence[str], rounds: int) -> dict[str, dict[str, float]]:
    """Each program in a process of its own, in turn, `rounds` times: medians of what each measured."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = checkpoint(setting.checkpoint, Path(scratch))
        runs: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers}
        for _ in range(rounds):
            for peer in peers:
                runs[peer].append(one(peer, folder, setting))
    return {results[0]["program"]: medians(results) for results in runs.values()}


def ten_turns_of(setting: Setting, rounds: int) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as scratch:
        return ten_turns.measure(checkpoint(setting.checkpoint, Path(scratch)), setting.side, rounds)


def batches_of(setting: Setting, rounds: int) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as scratch:
        return batches.measure(checkpoint(setting.checkpoint, Path(scratch)), rounds)


def checkpoint(name: str, scratch: Path) -> Path:
    """The folder of a checkpoint by its name here; random ones are written into `scratch`."""
    from benchmarks import checkpoints

    return checkpoints.DEMO if name == "demo" else checkpoints.write_random(name, scratch / name)


def one(peer: str, folder: Path, setting: Setting) -> dict[str, Any]:
    """One program's measurement in a fresh process.

    Raises CalledProcessError, with the process's own words on stderr, when it fails.
    """
    code = (
        "import json, pathlib\n"
        f"from benchmarks.peer_{peer} import run\n"
        f"result = run(pathlib.Path({str(folder)!r}), {setting.side}, {setting.tokens})\n"
        "print(json.dumps(result.as_json() | {'rates': [turn.rate for turn in result.turns]}))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    parsed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return parsed


def medians(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    def middle(values: Sequence[float]) -> float:
        return statistics.median(values)

    return {
        "load": middle([run["load"] for run in runs]),
        "ttft 1": middle([run["turns"][0]["ttft"] for run in runs]),
        "ttft 5": middle([run["turns"][-1]["ttft"] for run in runs]),
        "decode": middle([statistics.median(run["rates"]) for run in runs]),
        "memory": middle([run["peak_memory"] for run in runs]),
        "prompt 1": runs[0]["turns"][0]["prompt_tokens"],
        "prompt 5": runs[0]["turns"][-1]["prompt_tokens"],
    }


if __name__ == "__main__":
    main()
