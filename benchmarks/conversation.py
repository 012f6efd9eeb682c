"""One conversation by every program, each in a process of its own, in interleaved rounds."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import apart, peers
from benchmarks.peers import Entry, Program
from benchmarks.scenario import TALKS, Talk, Turn, picture

Found = dict[str, Any]


def measure(
    entries: Sequence[Entry], folder: Path, talk: str, side: int, rounds: int, absent: dict[str, str]
) -> dict[str, Found]:
    """Of each program that holds this conversation the medians, by its name; one that fails is named in `absent`."""
    long = TALKS[talk].long
    able = [entry for entry in entries if talk not in entry.skips and (entry.plain or not long)]
    runs: dict[str, list[Any]] = {entry.name: [] for entry in able}
    for number in range(rounds):
        for entry in able:
            if entry.name not in runs or (number and (entry.once or (entry.slow and long))):
                continue
            times = range(-1, rounds) if entry.once else range(number, number + 1)
            asked = (entry.name, folder, talk, side, times.start, times.stop)
            try:
                runs[entry.name].append(apart.call("benchmarks.conversation:held", *asked))
            except apart.Failed as error:
                del runs[entry.name]
                absent[f"{entry.name}, {talk}"] = str(error)
    return {name: medians(taken) for name, taken in runs.items()}


def held(name: str, folder: str, talk: str, side: int, first: int, stop: int) -> Found:
    """What one process measures; a conversation before the zeroth only warms it up."""
    chosen = TALKS[talk]
    start = time.perf_counter()
    program = peers.named(name).open(Path(folder), chosen.context, 1)
    loaded = time.perf_counter() - start
    times = {number: hold(program, chosen, side, number) for number in range(first, stop)}
    turns = [[asdict(turn) | {"rate": turn.rate} for turn in taken] for number, taken in times.items() if number >= 0]
    return {"load": loaded, "turns": turns, **program.close()}


def hold(program: Program, talk: Talk, side: int, number: int) -> list[Turn]:
    """The conversation for the nth time."""
    program.begin()
    return [
        program.ask(ask.text, [] if ask.picture is None else [picture(talk.side or side, ask.picture)], talk.tokens)
        for ask in talk.asks(number % 100)
    ]


def medians(runs: Sequence[Found]) -> Found:
    """Of several runs of one program: each number's median, for TTFT turn by turn."""
    talks = [turns for run in runs for turns in run["turns"]]
    by_turn = list(zip(*talks, strict=True))
    return {
        **{key: statistics.median(run[key] for run in runs) for key in runs[0] if key != "turns"},
        "ttft": [statistics.median(turn["ttft"] for turn in turns) for turns in by_turn],
        "decode": statistics.median(turn["rate"] for turns in talks for turn in turns),
        "prompt": [turns[0]["prompt_tokens"] for turns in by_turn],
        "tokens": [turns[0]["tokens"] for turns in by_turn],
    }
