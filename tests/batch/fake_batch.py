"""`pixtral batch` as it is, but for the engine: it answers with a digest of what it is asked, after PAUSE seconds or so.

A question may order what happens: `outage` and `refused` raise, `forever` is answered until it is stopped.
"""

import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from random import Random

from pixtral_cli.__main__ import main
from pixtral_cli.chat.engine import Chunk, Sampling, Timings, Usage
from pixtral_cli.chat.message import Message
from pixtral_cli.cli import opening
from pixtral_cli.errors import NetworkError, UsageError
from tests.fakes import FakeEngine

PAUSE = float(os.environ.get("PAUSE", "0"))


class Hashing(FakeEngine):
    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        text = messages[-1].text
        if text == "outage":
            raise NetworkError("The server is down", "Try again later")
        if text == "refused":
            raise UsageError("The server refuses this")
        said = repr([(one.role, one.text, [image.sha256 for image in one.images]) for one in messages])
        digest = hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()
        while text == "forever":
            time.sleep(0.01)
            yield Chunk("again ")
        time.sleep(PAUSE * Random(digest).random())  # so that rows overtake each other
        yield Chunk(f"{digest} ")
        yield Chunk("é\u2028", "stop", Usage(7, 2, 0, Random().randrange(7)), Timings())


if __name__ == "__main__":
    opening.open_chosen = lambda *given: Hashing()
    main(["batch", *sys.argv[1:]])
