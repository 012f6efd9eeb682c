"""Decoding under a schema beside decoding freely: what holding an answer to JSON costs."""

import statistics
from pathlib import Path

from benchmarks import apart
from benchmarks.peers.pixtral import engine
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.engine import LocalEngine

ITEM = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "count": {"type": "integer"}},
    "required": ["name", "count"],
}
SCHEMA = {"type": "array", "items": ITEM, "minItems": 100}
TOKENS = 64


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """Tokens a second `plain` and under a `schema`, medians of interleaved rounds, and of their ratios."""
    pairs: list[tuple[float, float]] = apart.call("benchmarks.schemas:pairs", folder, rounds)
    return {
        "plain": statistics.median(plain for plain, _ in pairs),
        "schema": statistics.median(held for _, held in pairs),
        "ratio": statistics.median(held / plain for plain, held in pairs),
    }


def pairs(folder: str, rounds: int) -> list[tuple[float, float]]:
    local = engine(Path(folder))
    plain, held = (Sampling(temperature=0.0, max_tokens=TOKENS, schema=schema) for schema in (None, SCHEMA))
    _rate(local, held)  # loads, and compiles the schema
    return [(_rate(local, plain), _rate(local, held)) for _ in range(rounds)]


def _rate(local: LocalEngine, sampling: Sampling) -> float:
    *_, last = local.stream([user("List the animals of a farm.")], sampling)
    assert last.usage
    assert last.timings
    return (last.usage.completion_tokens - 1) / last.timings.decode
