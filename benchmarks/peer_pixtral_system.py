"""The same with a system prompt, which the template puts into the newest message: each turn computes the last one again."""

from pathlib import Path

from benchmarks import peer_pixtral
from benchmarks.scenario import Result


def run(folder: Path, side: int, tokens: int) -> Result:
    return peer_pixtral.run(folder, side, tokens, system="You describe pictures in a few plain words.")
