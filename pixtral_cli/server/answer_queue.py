"""Runs a limited number of answers at a time, each on its own thread, and queues a limited number behind them."""

import asyncio
import time
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from pixtral_cli.chat.engine import Chunk, Engine, Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.errors import ContextError


class QueueFull(Exception):
    """The queue has no place left."""


class AnswerQueue:
    """At most `running` answers at a time, first come first served, and at most `waiting` behind them."""

    def __init__(self, running: int, waiting: int) -> None:
        self.running = 0
        self.pending = 0
        self.idle_since = time.monotonic()
        self._limit = running + waiting
        self._slots = asyncio.Semaphore(running)

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """A place in the queue; raises QueueFull when there is none."""
        if self.pending >= self._limit:
            raise QueueFull
        self.pending += 1
        try:
            yield
        finally:
            self.pending -= 1
            self.idle_since = time.monotonic()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a slot to compute in, and hold it. Only for admitted requests."""
        async with self._slots:
            self.running += 1
            try:
                yield
            finally:
                self.running -= 1


class AsyncAnswer:
    """An engine's answer as an async iterator, computed on its own thread. `aclose` stops it and waits until it has stopped.

    `clip`: an answer that is to have more tokens than the context window has left may take what is left, as at Ollama's
    and llama.cpp's servers; else it is refused.
    """

    def __init__(self, engine: Engine, messages: Sequence[Message], sampling: Sampling, *, clip: bool = True) -> None:
        self._stream = partial(engine.stream, messages)
        self._sampling = sampling
        self._clip = clip and sampling.max_tokens is not None
        self._chunks: Iterator[Chunk] | None = None
        self._thread = ThreadPoolExecutor(1, "answer")
        self._closing = False

    def __aiter__(self) -> "AsyncAnswer":
        return self

    async def __anext__(self) -> Chunk:
        chunk = await asyncio.get_running_loop().run_in_executor(self._thread, self._next)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    def _next(self) -> Chunk | None:
        if self._closing:
            return None
        if self._chunks is not None:
            return next(self._chunks, None)
        try:
            return self._first(self._sampling)
        except ContextError:  # raised before anything is computed
            if not self._clip or self._closing:
                raise
            self._close()
            return self._first(replace(self._sampling, max_tokens=None))

    def _first(self, sampling: Sampling) -> Chunk | None:
        self._chunks = self._stream(sampling)
        return next(self._chunks, None)

    async def aclose(self) -> None:
        self._closing = True
        if not isinstance(self._chunks, Generator):
            self._close()  # an engine's own iterator can be closed while it computes, which stops it sooner
        stopped = asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)
        await asyncio.shield(stopped)

    def _close(self) -> None:
        if close := getattr(self._chunks, "close", None):
            close()
