"""`pixtral chat` as it is, but for the engine: it repeats what it is asked and needs no model.

PAUSE is how many seconds it takes for a word, LOAD how many to load; without them it is at once. PART is how much of it
has been read while it loads. Before the word `wait` it waits until it is stopped. With WHOLE
its words are those of `pixtral`, not of `pixtral chat`.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from pixtral_cli.__main__ import main
from pixtral_cli.chat.engine import Chunk, Sampling, Timings, Usage
from pixtral_cli.chat.message import Message
from pixtral_cli.cli.common import engine_setup
from tests.fakes import FakeEngine


class Echo(FakeEngine):
    loaded, doing = float(os.environ.get("PART", "0")), ""

    def load(self, check: Callable[[], None]) -> None:
        time.sleep(float(os.environ.get("LOAD", "0")))

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        for word in messages[-1].text.split(" "):
            time.sleep(600 if word == "wait" else float(os.environ.get("PAUSE", "0")))
            yield Chunk(f"{word} ")
        yield Chunk(finish_reason="stop", usage=Usage(), timings=Timings())


if __name__ == "__main__":
    engine_setup.open_model = lambda *given: Echo()
    main(sys.argv[1:] if os.environ.get("WHOLE") else ["chat", *sys.argv[1:]])
