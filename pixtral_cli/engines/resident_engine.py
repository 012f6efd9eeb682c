"""The engine that answers through a worker process, and in this process once the worker has ended."""

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from pixtral_cli.chat.engine import Chunk, Cost, Engine, Sampling, engine_versions
from pixtral_cli.chat.message import Message
from pixtral_cli.chat.tools import Tool
from pixtral_cli.engines.remote.client import ApiClient, CancellableRequest
from pixtral_cli.engines.remote.engine import AnswerStream, RemoteEngine
from pixtral_cli.engines.remote.errors import ServerQueueFull
from pixtral_cli.engines.resident import STATUS_TIMEOUT, is_responding, set_keep_alive
from pixtral_cli.errors import NetworkError


class _ForwardedRequest(CancellableRequest):
    """Cancels an answer that is forwarded from another engine."""

    def __init__(self) -> None:
        super().__init__()
        self._inner: Any = None

    @contextlib.contextmanager
    def forward(self, inner: Any) -> Iterator[Iterator[Chunk]]:
        """The chunks of the stream `inner`, which is closed at the end of the block or by `cancel`."""
        self._inner = inner
        with contextlib.closing(inner):
            yield iter(()) if self.cancelled.is_set() else inner

    def cancel(self) -> None:
        super().cancel()
        if self._inner:
            with contextlib.suppress(ValueError):  # a generator that is running
                self._inner.close()


class ResidentEngine:
    """The engine of a worker. When the worker has ended, `note` is called and the engine of `fallback` answers instead.

    While the worker's queue is full, requests are retried. `keep_alive`: the new seconds of idling after which it ends;
    0: it ends when this engine is closed.
    """

    def __init__(
        self,
        remote: RemoteEngine,
        fallback: Callable[[], Engine],
        note: Callable[[str], None],
        keep_alive: float | None = None,
    ) -> None:
        self._remote = remote
        self._engine: Engine = remote
        self._fallback: Callable[[], Engine] | None = fallback
        self._note = note
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._unload = keep_alive == 0
        if keep_alive and (socket := remote.server.socket):
            set_keep_alive(socket, keep_alive)

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> AnswerStream:
        """See `Engine`. An answer is retried only before its first chunk. Any thread may close the stream."""
        request = _ForwardedRequest()
        return AnswerStream(self._answer(messages, sampling, request), request)

    def _answer(
        self, messages: Sequence[Message], sampling: Sampling, request: _ForwardedRequest
    ) -> Generator[Chunk, None, None]:
        while True:
            engine, begun = self._engine, False
            try:
                with request.forward(engine.stream(messages, sampling)) as chunks:
                    for chunk in chunks:
                        begun = True
                        yield chunk
                return
            except NetworkError as error:
                if begun or request.cancelled.is_set() or not self._should_retry(error, engine, request.cancelled):
                    raise

    def measure(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Cost:
        """See `Engine`."""
        while True:
            engine = self._engine
            try:
                return engine.measure(messages, tools)
            except NetworkError as error:
                if not self._should_retry(error, engine, self._closed):
                    raise

    def versions(self) -> dict[str, str]:
        """The versions that the worker reports."""
        return engine_versions(self._engine)

    def _should_retry(self, error: NetworkError, failed: Engine, cancelled: threading.Event) -> bool:
        """Whether to ask again: the worker, after waiting for its queue, or the engine that replaces it."""
        if isinstance(error, ServerQueueFull):
            return not cancelled.wait(error.retry_after) and not self._closed.is_set()
        return self._replace_engine(failed)

    def _replace_engine(self, failed: Engine) -> bool:
        """Replace the engine `failed` if its worker has ended; returns whether it is replaced, by any thread."""
        with self._lock:
            if self._engine is not failed:
                return True
            if self._fallback is None or self._closed.is_set() or self._worker_responds():
                return False
            self._note("The resident process has ended; loading the model here.")
            self._engine, self._fallback = self._fallback(), None
            return True

    def _worker_responds(self) -> bool:
        with contextlib.closing(ApiClient(self._remote.server, read_timeout=STATUS_TIMEOUT)) as client:
            return is_responding(client)

    def close(self) -> None:
        self._closed.set()
        if self._unload and (socket := self._remote.server.socket):
            set_keep_alive(socket, 0)
        self._remote.close()  # not when it is replaced: other threads may still use it then
        if self._engine is not self._remote:
            self._engine.close()
