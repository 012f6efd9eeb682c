"""A resident process whose engine is a fake: tests start it where the real one would load a model.

While the file exists that FAKE_HOLD names, it does not get loaded, and who asks it to wait is not answered.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pixtral_cli import errors
from pixtral_cli.chat.engine import Chunk, Cost, Sampling, Timings, Usage
from pixtral_cli.chat.message import Message
from pixtral_cli.server.worker import load_and_serve

HOLD = Path(os.environ.get("FAKE_HOLD", "/nowhere"))


def held() -> None:
    while HOLD.exists():
        time.sleep(0.02)


class Counting:
    """Counts to max_tokens, a number every 20 ms. The question may ask for an error by its name, for a bug or for an echo."""

    loaded, doing = 0.0, ""

    def load(self, check: Callable[[], None]) -> None:
        for self.loaded in (0.25, 0.255, 0.5):
            check()
        held()
        if name := os.environ.get("FAKE_LOAD_ERROR"):
            raise getattr(errors, name)("it does not load", "Do something else")

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        question = messages[-1].text
        if kind := getattr(errors, question, None):
            raise kind("it went wrong in /secret/place", "Do something else")
        count = sampling.max_tokens or 1000
        if question.startswith("echo "):
            time.sleep(0.1)
            yield Chunk(f"<{question.removeprefix('echo ')}>")
            count = 0
        if question == "wait":
            held()
        for number in range(count):
            time.sleep(0.02)  # stands for a decode step
            yield Chunk(f"{number} ")
            if question == "break":
                raise KeyError("a bug, at 0x7f00deadbeef")
        yield Chunk(finish_reason="length", usage=Usage(7, count), timings=Timings(total=1))

    def measure(self, messages: Sequence[Message], tools: object = ()) -> Cost:
        return Cost(sum(len(message.text) for message in messages), 4321)

    def close(self) -> None:
        pass


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as report:
        load_and_serve(json.loads(sys.argv[1]), Counting(), report)
