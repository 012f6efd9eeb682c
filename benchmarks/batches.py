"""Answering one, four and eight questions at a time."""

import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import apart, peers
from benchmarks.peers import Entry, Program

SIZES = (1, 4, 8)
TOKENS = 64
CONTEXT = 512
PEERS = ("pixtral", "llama.cpp", "vllm")


def measure(entries: Sequence[Entry], folder: Path, rounds: int, absent: dict[str, str]) -> dict[str, dict[str, float]]:
    """Of each program that can, medians: tokens a second together by the number of answers."""
    found: dict[str, dict[str, float]] = {}
    for entry in entries:
        if entry.plain and entry.peer in PEERS:
            try:
                found[entry.name] = apart.call("benchmarks.batches:rates", entry.name, folder, rounds)
            except apart.Failed as error:
                absent[f"{entry.name}, several questions"] = str(error)
    return found


def rates(name: str, folder: str, rounds: int) -> dict[str, float]:
    program = peers.named(name).open(Path(folder), CONTEXT, max(SIZES))
    together(program, 1, 2)
    taken: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(rounds):
        for size, found in taken.items():
            found.append(together(program, size, TOKENS))
    program.close()
    return {str(size): statistics.median(found) for size, found in taken.items()}


def together(program: Program, size: int, tokens: int) -> float:
    """Tokens a second of so many answers to short questions, all asked at once."""
    counts: list[int] = []

    def pull(number: int) -> None:
        counts.append(program.alone(f"Tell story number {number}.", tokens))

    threads = [threading.Thread(target=pull, args=(number,)) for number in range(size)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)
