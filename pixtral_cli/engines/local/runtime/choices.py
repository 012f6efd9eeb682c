"""Several answers to one conversation (`n`): each is computed on its own thread, so that they share decode steps."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from queue import SimpleQueue

from pixtral_cli.chat.engine import Chunk, Timings, Usage
from pixtral_cli.engines.local.runtime.cancellation import CancellableStream


class MergedStream(Iterator[Chunk]):
    """The chunks of `count` answers as they arrive, numbered by `Chunk.index`. Any thread may call `close`.

    The first answer starts alone: once it has a chunk, its prompt is in the prefix cache for the others to copy. An
    error of one answer ends them all.
    """

    def __init__(self, count: int, stream: Callable[[int], CancellableStream]) -> None:
        self._streams = [stream(index) for index in range(count)]
        self._events: SimpleQueue[tuple[int, Chunk | BaseException | None]] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._finished: set[int] = set()
        self._closed = False
        self._usage, self._timings = Usage(), Timings()

    def __next__(self) -> Chunk:
        if not self._threads:
            self._start(0)
        while not self._closed and len(self._finished) < len(self._streams):
            index, event = self._events.get()
            if len(self._threads) == 1 and not self._closed:
                for other in range(1, len(self._streams)):
                    self._start(other)
            if isinstance(event, BaseException):
                self.close()
                raise event
            if event is not None:
                return self._merge(replace(event, index=index))
            self._finished.add(index)
        raise StopIteration

    def _start(self, index: int) -> None:
        thread = threading.Thread(target=self._pull, args=(index,), name=f"answer-{index}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _pull(self, index: int) -> None:
        """Queue the chunks of one answer, then None or the error that ended it."""
        try:
            for chunk in self._streams[index]:
                self._events.put((index, chunk))
        except BaseException as error:
            self._events.put((index, error))
        else:
            self._events.put((index, None))

    def _merge(self, chunk: Chunk) -> Chunk:
        """The chunk; of the final ones only that of the last answer has usage and timings: those of all answers."""
        if chunk.finish_reason is None:
            return chunk
        usage, timings = chunk.usage or Usage(), chunk.timings or Timings()
        total = self._usage
        cached = usage.cached_tokens if chunk.index == 0 else total.cached_tokens
        self._usage = Usage(
            usage.prompt_tokens, total.completion_tokens + usage.completion_tokens, usage.image_tokens, cached,
            total.reasoning_tokens + usage.reasoning_tokens,
        )  # fmt: skip
        first = self._timings if self._timings.total and chunk.index else timings
        self._timings = replace(first, total=max(timings.total, self._timings.total), peak_memory=timings.peak_memory)
        self._finished.add(chunk.index)
        if len(self._finished) < len(self._streams):
            return replace(chunk, usage=None, timings=None)
        return replace(chunk, usage=self._usage, timings=self._timings)

    def close(self) -> None:
        """End all answers and wait for their threads."""
        self._closed = True
        for stream in self._streams:
            stream.close()
        for thread in self._threads:
            thread.join()
