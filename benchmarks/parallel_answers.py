"""Eight answers to one question (`n`), and eight conversations that call a tool at the same time, beside one of each."""

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from benchmarks import apart
from benchmarks.peers.pixtral import engine
from benchmarks.schemas import SCHEMA
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.chat.tools import NamedTool, Tool
from pixtral_cli.engines.local.engine import LocalEngine

COUNT = 8
TOKENS = 64
TOOL = Tool(
    "store", "Stores the animals.", {"type": "object", "properties": {"animals": SCHEMA}, "required": ["animals"]}
)
FREE = Sampling(temperature=0.8, seed=1, max_tokens=TOKENS)
CALLING = Sampling(temperature=0.0, max_tokens=TOKENS, tools=(TOOL,), tool_choice=NamedTool(TOOL.name))


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """Tokens a second of `one` answer, of `choices` together, of `one call` and of `calls` together: medians of rounds."""
    found: list[dict[str, float]] = apart.call("benchmarks.parallel_answers:rates", folder, rounds)
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def rates(folder: str, rounds: int) -> list[dict[str, float]]:
    local = engine(Path(folder))
    _rate(local, [CALLING])  # loads, and compiles the schema
    ways: dict[str, Sequence[Sampling]] = {
        "one": [FREE], "choices": [replace(FREE, n=COUNT)], "one call": [CALLING], "calls": [CALLING] * COUNT,
    }  # fmt: skip
    return [{name: _rate(local, asked) for name, asked in ways.items()} for _ in range(rounds)]


def _rate(local: LocalEngine, asked: Sequence[Sampling]) -> float:
    """Tokens a second of all answers, from asking to the last token; each conversation has a question of its own."""

    def tokens(number: int) -> int:
        *_, last = local.stream([user(f"List the animals of farm number {number}.")], asked[number])
        assert last.usage
        return last.usage.completion_tokens

    start = time.perf_counter()
    with ThreadPoolExecutor(len(asked)) as pool:
        return sum(pool.map(tokens, range(len(asked)))) / (time.perf_counter() - start)
