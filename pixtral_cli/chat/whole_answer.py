"""A whole answer for those who do not show it as it comes. One that is lost on its way is asked for again."""

from collections.abc import Sequence

from pixtral_cli.chat.engine import Chunk, Engine, Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.errors import AnswerLost
from pixtral_cli.util.parallel import Cancellation

MAX_TRIES = 3  # of an answer whose replica was lost in the middle; a question that ends every replica is given up


def whole_answer(
    engine: Engine, messages: Sequence[Message], sampling: Sampling, stop: Cancellation
) -> tuple[str, Chunk]:
    """The text of an answer, and its last chunk, which has finish reason, usage and timings.

    Raises Cancelled once `stop` is set, AnswerLost when it was lost `MAX_TRIES` times, and what the engine raises.
    """
    for left in reversed(range(MAX_TRIES)):
        pieces: list[str] = []
        last = Chunk()
        try:
            with stop.watching(engine.stream(messages, sampling)) as stream:
                for chunk in stream:
                    pieces.append(chunk.text)
                    last = chunk if chunk.usage or chunk.finish_reason else last
                    stop.check()
            stop.check()  # a cancelled answer is incomplete
            return "".join(pieces), last
        except AnswerLost:
            stop.check()
            if not left:
                raise
    raise AssertionError("unreachable")
