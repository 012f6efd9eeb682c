"""`pixtral` as it is, but for the engine: its answers are those of ANSWERS, a JSON array, one after another.

It writes a word in PAUSE seconds. Before the word `wait` it waits until it is stopped; an answer that ends in `CUT` was
cut off by its length there. With every answer used up it says how many messages and pictures it was sent.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from pixtral_cli.__main__ import main
from pixtral_cli.chat.engine import Chunk, Sampling, Timings, Usage
from pixtral_cli.chat.message import Message
from pixtral_cli.cli.common import engine_setup
from tests.fakes import FakeEngine


class Answering(FakeEngine):
    loaded, doing = 0.0, ""

    def load(self, check: Callable[[], None]) -> None:
        pass

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        counts = f"{len(messages)} messages, {sum(len(message.images) for message in messages)} pictures"
        answer = str(self.answers.pop(0)) if self.answers else counts
        words = answer.removesuffix("CUT").split(" ")
        for number, word in enumerate(words, 1):
            time.sleep(600 if word == "wait" else float(os.environ.get("PAUSE", "0")))
            yield Chunk(word + " " * (number < len(words)))
        cut = answer.endswith("CUT")
        yield Chunk(finish_reason="length" if cut else "stop", usage=Usage(5, len(words)), timings=Timings())


if __name__ == "__main__":
    engine = Answering(json.loads(os.environ["ANSWERS"]))
    engine_setup.open_model = lambda *given: engine
    main(sys.argv[1:])
