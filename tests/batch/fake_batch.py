"""`pixtral batch` as it is, but for the engine: it answers with a digest of what it is asked, after PAUSE seconds or so.

A question may order what happens: `outage`, `refused` and `bug` raise, `forever` is answered until it is stopped, `last` only
where there is no PAUSE, `page` with HTML. With MENDED=1 nothing is refused; with BROKEN=open or BROKEN=load there is no engine.
"""

import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from random import Random

from pixtral_cli.__main__ import main
from pixtral_cli.chat.engine import Chunk, Sampling, Timings, TokenLogprob, Usage
from pixtral_cli.chat.message import Message
from pixtral_cli.cli.common import engine_setup
from pixtral_cli.errors import ModelError, NetworkError, OutOfMemory, UsageError
from tests.fakes import FakeEngine

PAUSE = float(os.environ.get("PAUSE", "0"))
BROKEN, MENDED = os.environ.get("BROKEN"), "MENDED" in os.environ
PAGE = "Here:\n\n```html\n<p>hi</p>\n```\n"


class Hashing(FakeEngine):
    loaded, doing = 0.0, ""

    def load(self) -> None:
        if BROKEN == "load":
            raise OutOfMemory("There is no room")

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        text = messages[-1].text
        if text == "outage":
            raise NetworkError("The server is down", "Try again later")
        if text == "refused" and not MENDED:
            raise UsageError("The server refuses this")
        if text == "bug":
            raise KeyError(text)
        if text == "page":
            yield Chunk(PAGE, "stop")
            return
        said = repr([(one.role, one.text, [image.sha256 for image in one.images]) for one in messages])
        digest = hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()
        while text == "forever" or (PAUSE and text == "last"):
            time.sleep(0.01)
            yield Chunk("again ")
        time.sleep(PAUSE * Random(digest).random())  # so that rows overtake each other
        if sampling.n > 1 or sampling.logprobs is not None:
            told = () if sampling.logprobs is None else (TokenLogprob(b"a", -0.5),)
            for index in range(sampling.n):
                yield Chunk(f"answer {index}", logprobs=told, index=index)
            for index in range(sampling.n):
                usage = Usage(7, 2) if index + 1 == sampling.n else None
                yield Chunk(finish_reason="length" if index else "stop", usage=usage, timings=Timings(), index=index)
            return
        yield Chunk(f"{digest} ")
        yield Chunk("é\u2028", "stop", Usage(7, 2, 0, Random().randrange(7)), Timings())


def opened(*given: object) -> Hashing:
    if BROKEN == "open":
        raise ModelError("There is no engine")
    return Hashing()


if __name__ == "__main__":
    engine_setup.open_model = opened
    main(["batch", *sys.argv[1:]])
