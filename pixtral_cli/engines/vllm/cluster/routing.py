"""Sends a question to one of the replicas, and to another one if that is lost before its answer has begun."""

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

MAX_WAIT = 900.0  # seconds for which a question waits for a replica
EXIT_TIMEOUT = 15.0  # seconds to find out whether a replica that broke off an answer is lost
MAX_TRIES = 3  # replicas that are asked one after another


class RoutedRequest(CancellableRequest):
    """The request of an answer; cancelling it cancels the request to the replica that is being asked."""

    def __init__(self) -> None:
        super().__init__()
        self._inner: CancellableRequest | None = None

    def next_route(self) -> CancellableRequest:
        """A new request, to the next replica."""
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
        for retries_left in reversed(range(MAX_TRIES)):
            try:
                yield from self._answer_once(messages, sampling, request)
                return
            except _LostBeforeAnswer as lost:
                if not retries_left or request.cancelled.is_set():
                    raise lost.error from lost

    def _answer_once(
        self, messages: Sequence[Message], sampling: Sampling, request: RoutedRequest
    ) -> Generator[Chunk, None, None]:
        """The answer of one replica.

        Raises _LostBeforeAnswer when it is lost before the first chunk, AnswerLost afterwards.
        """
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
            why = self._replicas.loss_within(state, client, EXIT_TIMEOUT)
            if not why or self._replicas.ending:
                raise
            number = state.replica.number
            lost = AnswerLost(f"Replica {number} was lost in the middle of the answer: {why}", "Ask again")
            raise (lost if begun else _LostBeforeAnswer(lost)) from error
        finally:
            self._replicas.release(state, inner, answered=answered)


class _LostBeforeAnswer(Exception):
    """A replica was lost before the first chunk of its answer, so that another one can be asked."""

    def __init__(self, error: AnswerLost) -> None:
        super().__init__(error.message)
        self.error = error


class _ReplicaEngine(VllmClientEngine):
    """The engine of one replica."""

    def answer(
        self, messages: Sequence[Message], sampling: Sampling, request: CancellableRequest
    ) -> Generator[Chunk, None, None]:
        """The chunks of an answer."""
        answer = self._answer(messages, sampling, request)
        with contextlib.closing(answer):
            yield from answer


def _conversation_key(messages: Sequence[Message]) -> str:
    """A key that is equal for the questions of one conversation: its first user message with images."""
    first = next((message for message in messages if message.role == "user"), None)
    return json.dumps([part if isinstance(part, str) else part.key for part in first.parts]) if first else ""
