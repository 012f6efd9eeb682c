"""Collects an engine's stream into one answer, for callers that show nothing before it is complete."""

from collections.abc import Sequence
from dataclasses import dataclass

from pixtral_cli.chat.engine import Chunk, Engine, FinishReason, Sampling, TokenLogprob
from pixtral_cli.chat.message import Message
from pixtral_cli.errors import AnswerLost
from pixtral_cli.util.parallel import Cancellation

MAX_TRIES = 3  # of an answer whose replica was lost: the question itself may be what ends the replicas


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """The text of an answer, the reason of its end, and the log-probabilities of its tokens where they were asked for."""

    text: str
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] = ()


def whole_answer(
    engine: Engine, messages: Sequence[Message], sampling: Sampling, stop: Cancellation
) -> tuple[str, Chunk]:
    """The text of one answer, and its last chunk, which has finish reason, usage and timings. Raises what `whole_answers` does."""
    (answer, *_), last = whole_answers(engine, messages, sampling, stop)
    return answer.text, last


def whole_answers(
    engine: Engine, messages: Sequence[Message], sampling: Sampling, stop: Cancellation
) -> tuple[list[WholeAnswer], Chunk]:
    """As many answers as the sampling asks for, and the last chunk of all, which has usage and timings.

    Raises Cancelled once `stop` is set, AnswerLost when it was lost `MAX_TRIES` times, and what the engine raises.
    """
    for attempts_left in reversed(range(MAX_TRIES)):
        pieces: list[list[Chunk]] = [[] for _ in range(sampling.n)]
        last = Chunk()
        try:
            with stop.watching(engine.stream(messages, sampling)) as stream:
                for chunk in stream:
                    pieces[chunk.index].append(chunk)
                    last = chunk if chunk.usage or chunk.finish_reason else last
                    stop.check()
            stop.check()  # a cancelled answer is incomplete
            return [_joined(chunks) for chunks in pieces], last
        except AnswerLost:
            stop.check()
            if not attempts_left:
                raise
    raise AssertionError("unreachable")


def _joined(chunks: Sequence[Chunk]) -> WholeAnswer:
    reasons = [chunk.finish_reason for chunk in chunks if chunk.finish_reason]
    logprobs = tuple(one for chunk in chunks for one in chunk.logprobs)
    return WholeAnswer("".join(chunk.text for chunk in chunks), reasons[-1] if reasons else "stop", logprobs)
