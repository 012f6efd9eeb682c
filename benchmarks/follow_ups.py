"""A follow-up's time to its first token beside computing its new tokens alone, at the same length of the conversation."""

import statistics
import time
from pathlib import Path

from benchmarks import apart
from benchmarks.conversation import hold
from benchmarks.peers.pixtral import Pixtral
from benchmarks.scenario import TALKS, picture

CHUNK = 256


def measure(folder: Path, side: int, rounds: int) -> dict[str, float]:
    """Medians in seconds over the turns of ten that bring no picture, and of their ratios."""
    pairs: list[tuple[float, float]] = apart.call("benchmarks.follow_ups:pairs", folder, side, rounds)
    return {
        "ttft": statistics.median(ours for ours, _ in pairs),
        "alone": statistics.median(alone for _, alone in pairs),
        "ratio": statistics.median(ours / alone for ours, alone in pairs),
    }


def pairs(folder: str, side: int, rounds: int) -> list[tuple[float, float]]:
    talk = TALKS["ten turns"]
    program = Pixtral(Path(folder), "bf16", "")
    hold(program, talk, side, rounds)  # warms up
    alone = Alone(program)
    found = []
    for number in range(rounds):
        program.begin()
        for ask in talk.asks(number):
            images = [] if ask.picture is None else [picture(side, ask.picture)]
            turn = program.ask(ask.text, images, talk.tokens)
            if not images:
                found.append((turn.ttft, alone.seconds(turn.prompt_tokens - turn.cached, turn.cached)))
    return found


class Alone:
    """The decoder without anything around it."""

    def __init__(self, program: Pixtral) -> None:
        from pixtral_cli.engines.local.model.decoder import Decoder
        from pixtral_cli.engines.local.model.kv_cache import KVCache
        from pixtral_cli.engines.local.runtime.placement import set_threads, thread_count

        weights = program.runner.weights
        set_threads(thread_count(weights.size))  # answering left torch with one
        self._decoder = Decoder(weights, program.local.params)
        self._cache = KVCache(program.local.params, weights.device, weights.dtype, lambda size: None)

    def seconds(self, count: int, past: int) -> float:
        """The median time of the logits after so many tokens that follow so many others."""
        while self._cache.length < past:
            self._read(min(CHUNK, past - self._cache.length))
        return statistics.median(self._timed(count, past) for _ in range(3))

    def _timed(self, count: int, past: int) -> float:
        self._cache.length = past
        start = time.perf_counter()
        self._read(count)
        return time.perf_counter() - start

    def _read(self, count: int) -> None:
        from pixtral_cli.engines.local.model.decoder import Span

        states = self._decoder.embed([1 + index % 9 for index in range(count)])
        self._decoder.logits(self._decoder.forward(states, [Span(self._cache, count)]))
