"""Limits how many answers are computed and how many requests wait, and runs each answer on a thread of its own."""

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
    """As many requests as the queue admits are running and waiting."""


class AnswerQueue:
    """Admits at most `running` + `waiting` requests, `running` of which are computed at a time, first come first served.

    `pending` counts the admitted requests, `running` those that are computed. `idle_since`: the time (`time.monotonic`) at
    which the last admitted request ended.
    """

    def __init__(self, running: int, waiting: int) -> None:
        self.running = 0
        self.pending = 0
        self.idle_since = time.monotonic()
        self._limit = running + waiting
        self._slots = asyncio.Semaphore(running)

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Count as an admitted request within the context. Raises QueueFull."""
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
        """Wait until fewer than the allowed number of answers are computed, then count as one. For admitted requests only."""
        async with self._slots:
            self.running += 1
            try:
                yield
            finally:
                self.running -= 1


class AsyncAnswer:
    """An engine's answer as an async iterator, computed on its own thread. `aclose` stops it and waits until it has stopped.

    `clip`: when `max_tokens` is more than the context window has left, the answer is limited to the window, as by the
    servers of Ollama and llama.cpp; without it ContextError is raised.
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
        chunk = await asyncio.get_running_loop().run_in_executor(self._thread, self._next_chunk)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    def _next_chunk(self) -> Chunk | None:
        if self._closing:
            return None
        if self._chunks is not None:
            return next(self._chunks, None)
        try:
            return self._first_chunk(self._sampling)
        except ContextError:  # raised before anything is computed
            if not self._clip or self._closing:
                raise
            self._close()
            return self._first_chunk(replace(self._sampling, max_tokens=None))

    def _first_chunk(self, sampling: Sampling) -> Chunk | None:
        self._chunks = self._stream(sampling)
        return next(self._chunks, None)

    async def aclose(self) -> None:
        self._closing = True
        if not isinstance(self._chunks, Generator):
            self._close()  # an iterator that is no generator may be closed while it computes, which stops it sooner
        stopped = asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)
        await asyncio.shield(stopped)

    def _close(self) -> None:
        if close := getattr(self._chunks, "close", None):
            close()
