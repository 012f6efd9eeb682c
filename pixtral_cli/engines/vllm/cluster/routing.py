"""Sends a question to one of the replicas, and to another one when that is lost before its answer has begun."""

import contextlib
import json
from collections.abc import Generator, Sequence

from pixtral_cli.chat.engine import Chunk, Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.remote.client import CancellableRequest
from pixtral_cli.engines.vllm.client_engine import VllmClientEngine
from pixtral_cli.engines.vllm.cluster.replicas import Replicas
from pixtral_cli.errors import AnswerLost, NetworkError

MAX_WAIT = 900.0  # seconds that a question waits for a replica
EXIT_TIMEOUT = 15.0  # seconds in which it is known that a replica that breaks off an answer is lost
MAX_TRIES = 3  # replicas that are asked when the answer has not begun


class RoutedRequest(CancellableRequest):
    """An answer's request; cancelling it cancels the one to the replica that is asked just now."""

    def __init__(self) -> None:
        super().__init__()
        self._inner: CancellableRequest | None = None

    def next_route(self) -> CancellableRequest:
        self._inner = CancellableRequest()
        return self._inner

    def cancel(self) -> None:
        super().cancel()
        if self._inner:
            self._inner.cancel()


class Router:
    """Answers by one of the replicas of `model`; `counter` resizes the images. `parses_calls`: see `VllmClientEngine`."""

    def __init__(self, replicas: Replicas, model: str, counter: LocalEngine, *, parses_calls: bool = False) -> None:
        self._replicas, self._model, self._counter = replicas, model, counter
        self._parses_calls = parses_calls

    def answer(
        self, messages: Sequence[Message], sampling: Sampling, request: RoutedRequest
    ) -> Generator[Chunk, None, None]:
        """The chunks of an answer. Raises AnswerLost when its replica is lost in the middle of it."""
        for left in reversed(range(MAX_TRIES)):
            try:
                yield from self._answer_of_one(messages, sampling, request)
                return
            except _NotBegun as lost:
                if not left or request.cancelled.is_set():
                    raise lost.error from lost

    def _answer_of_one(
        self, messages: Sequence[Message], sampling: Sampling, request: RoutedRequest
    ) -> Generator[Chunk, None, None]:
        """The answer of one replica. Raises _NotBegun when it is lost before the first chunk, AnswerLost when after it."""
        inner = request.next_route()
        state, client = self._replicas.acquire(inner, _conversation_key(messages), MAX_WAIT)
        begun = answered = False
        try:
            engine = _ReplicaEngine(client, self._model, self._counter, parses_calls=self._parses_calls)
            for chunk in engine.answer(messages, sampling, inner):
                begun = True
                answered = chunk.finish_reason is not None
                yield chunk
        except NetworkError as error:
            if request.cancelled.is_set():
                raise
            why = self._replicas.lost_within(state, client, EXIT_TIMEOUT)
            if not why or self._replicas.ending:
                raise
            number = state.replica.number
            lost = AnswerLost(f"Replica {number} was lost in the middle of the answer: {why}", "Ask again")
            raise (lost if begun else _NotBegun(lost)) from error
        finally:
            self._replicas.release(state, inner, answered=answered)


class _NotBegun(Exception):
    """A replica was lost before the answer had begun: another one may be asked."""

    def __init__(self, error: AnswerLost) -> None:
        super().__init__(error.message)
        self.error = error


class _ReplicaEngine(VllmClientEngine):
    """One answer by one replica."""

    def answer(
        self, messages: Sequence[Message], sampling: Sampling, request: CancellableRequest
    ) -> Generator[Chunk, None, None]:
        answer = self._answer(messages, sampling, request)
        with contextlib.closing(answer):
            yield from answer


def _conversation_key(messages: Sequence[Message]) -> str:
    """Equal for the questions of one conversation: its first user message, images included."""
    first = next((message for message in messages if message.role == "user"), None)
    return json.dumps([part if isinstance(part, str) else part.key for part in first.parts]) if first else ""
