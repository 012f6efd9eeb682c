"""The vLLM engine: starts `vllm serve` for a checkpoint and sends requests to it as a remote engine does.

Tokens are counted by the local engine's tokenizer.
"""

import contextlib
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pixtral_cli.chat.engine import Chunk, Cost, LoadableEngine, Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.chat.tools import Tool
from pixtral_cli.engines import resident
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.remote.client import ApiClient, CancellableRequest
from pixtral_cli.engines.remote.errors import Endpoint, Refused
from pixtral_cli.engines.vllm.checkpoint_folder import prepare_checkpoint
from pixtral_cli.engines.vllm.client_engine import VllmClientEngine, has_parser, parser_arguments
from pixtral_cli.engines.vllm.command import VllmOptions
from pixtral_cli.engines.vllm.log import LOADING
from pixtral_cli.engines.vllm.process import VllmProcess, start_vllm
from pixtral_cli.errors import NetworkError, PixtralError, UsageError
from pixtral_cli.structured.schema import with_schema_prompt

MAX_LOG_SILENCE = 900.0  # seconds without a new line in the log after which a start counts as failed
EXIT_TIMEOUT = 15.0  # seconds for a vLLM that broke off an answer to exit
POLL_INTERVAL = 0.2
DEVICES = ("auto", "cuda")


class VllmEngine(VllmClientEngine):
    """An `Engine` with a `vllm serve`, which the first question starts and `close` stops. Also a `LoadableEngine`."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        options: VllmOptions,
        device: str = "auto",
        dtype: str = "auto",
        max_silence: float = MAX_LOG_SILENCE,
    ) -> None:
        check_device(device)
        socket = resident.socket_folder(Path(options.state)) / f"{os.getpid()}-{secrets.token_hex(4)}.vllm"
        self._endpoint = Endpoint("http://localhost/v1", secrets.token_urlsafe(32), socket, "vLLM")
        super().__init__(
            ApiClient(self._endpoint, read_timeout=None), name, LocalEngine(folder, name=name),
            parses_calls=has_parser(options.arguments),
        )  # fmt: skip
        self._options, self._dtype, self._max_silence = options, dtype, max_silence
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._process: VllmProcess | None = None
        self._stopping: VllmProcess | None = None  # a process that was asked to stop and has not been waited for
        self._window: int | None = None

    @property
    def doing(self) -> str:
        """See `LoadableEngine`."""
        process = self._process
        if process is None or self._window is not None or process.ended:
            return ""
        percent = f" {process.loaded:.0%}" if process.doing == LOADING and process.loaded else ""
        return f"vLLM starts: {process.doing}{percent}"

    @property
    def loaded(self) -> float:
        """See `LoadableEngine`."""
        return self._process.loaded if self._process else 0.0

    def measure(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Cost:
        """See `Engine`. Tokens are counted with the checkpoint's tokenizer."""
        return with_window(self._counter.measure(messages, tools), self._window)

    def versions(self) -> dict[str, str]:
        """The version of vLLM; empty before it runs."""
        if self._window is None:
            return {}
        return {"vllm": version} if (version := super().versions().get("version")) else {}

    def load(self, check: Callable[[], None] = lambda: None) -> None:
        """Start vLLM unless it runs, and wait until it answers; `check` is called often and may raise.

        Raises UsageError, ModelError, OutOfMemory, NetworkError or PixtralError when it does not start.
        """
        with self._lock:
            if self._process and not self._process.ended:
                return
            if self._stopping:  # its guard removes the socket, which the next process uses too
                self._stopping.stop()
            self._window = self._stopping = None
            arguments = (*parser_arguments(self._counter), *self._options.arguments)
            options = replace(self._options, arguments=arguments)
            self._process = start_vllm(options, self._folder(), self.model, self._dtype, self._endpoint)
            try:
                self._window = self._wait(self._process, check)
            except PixtralError:
                self._process.stop()
                raise
            except BaseException:  # Ctrl-C: the caller should not wait for it
                self._process.request_stop()
                self._process, self._stopping = None, self._process
                raise

    def _folder(self) -> Path:
        """The folder for vLLM to load. With Ray the checkpoint itself, which is at the same path on every machine."""
        folder = self._counter.folder
        if self._options.ray:
            return folder.resolve()
        return prepare_checkpoint(folder, self._counter.params.context_window, Path(self._options.cache))

    def _wait(self, process: VllmProcess, check: Callable[[], None]) -> int:
        """Wait until it answers; returns its context window in tokens. Raises the error with which the start failed."""
        with contextlib.closing(ApiClient(self._endpoint, read_timeout=10)) as client:
            while not self._closing.wait(POLL_INTERVAL):
                check()
                if process.ended:
                    raise process.failure()
                process.read_log()
                if window := self._served_window(client):
                    return window
                if time.monotonic() - process.last_output_at > self._max_silence:
                    message = f"vLLM has printed nothing for {self._max_silence:.0f} s while {process.doing}"
                    raise PixtralError(message, f"It was ended. Its log: {process.log}")
        raise NetworkError("The start of vLLM was cancelled")

    def _served_window(self, client: ApiClient) -> int | None:
        """The context window that vLLM reports; None while it does not answer. Raises Refused."""
        try:
            listed = client.get("/models")
        except Refused:
            raise
        except NetworkError:
            return None
        return listed_window(listed) or self._counter.params.context_window

    def _answer(
        self, messages: Sequence[Message], sampling: Sampling, request: CancellableRequest
    ) -> Generator[Chunk, None, None]:
        cost, waited = load_for_prompt(self, self._counter, lambda: self._window, messages, sampling)
        with self._explain_exit(request):
            for chunk in super()._answer(messages, sampling, request):
                yield with_local_counts(chunk, cost.image_tokens, waited)

    @contextlib.contextmanager
    def _explain_exit(self, request: CancellableRequest) -> Iterator[None]:
        """Replaces the error of a broken answer by the reason why vLLM has ended, if it has.

        The next question restarts it.
        """
        try:
            yield
        except NetworkError as error:
            process = self._process
            if (
                request.cancelled.is_set()
                or self._closing.is_set()
                or not process
                or not process.exits_within(EXIT_TIMEOUT)
            ):
                raise
            raise process.failure() from error

    def close(self) -> None:
        """Stop vLLM, even while it starts. After a signal, do not wait for its end."""
        self._closing.set()
        with self._lock:
            if self._process:
                (self._process.request_stop if is_exit_signal(sys.exception()) else self._process.stop)()
        super().close()


def check_device(device: str) -> None:
    """Raises UsageError for a device that cannot be passed to vLLM."""
    if device not in DEVICES:
        raise UsageError(f"vLLM chooses its devices itself, not --device {device}", "Name GPUs: CUDA_VISIBLE_DEVICES")


def listed_window(listed: Any) -> int | None:
    """The context window in vLLM's list of models; None without one."""
    try:
        return int(listed["data"][0]["max_model_len"])
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def with_window(cost: Cost, window: int | None) -> Cost:
    """The cost with this context window; unchanged for None."""
    return replace(cost, context_window=window or cost.context_window)


def load_for_prompt(
    engine: LoadableEngine,
    counter: LocalEngine,
    window: Callable[[], int | None],
    messages: Sequence[Message],
    sampling: Sampling,
) -> tuple[Cost, float]:
    """Load the engine if prompt and answer fit; returns the prompt's cost, and how long loading took in seconds.

    `window`: the context window in tokens, read again after loading, since vLLM's may be smaller than the checkpoint's.
    Raises ContextError when prompt and answer exceed it, and the errors of loading.
    """
    began = time.monotonic()
    _checked_cost(counter, window(), messages, sampling)
    engine.load()
    waited = time.monotonic() - began
    return _checked_cost(counter, window(), messages, sampling), waited


def _checked_cost(counter: LocalEngine, window: int | None, messages: Sequence[Message], sampling: Sampling) -> Cost:
    """The cost of the prompt with tools and schema. Raises ContextError when prompt and answer exceed the window."""
    counted = counter.measure(with_schema_prompt(messages, sampling.schema), sampling.offered_tools)
    cost = with_window(counted, window)
    cost.check_fits(sampling.max_tokens)
    return cost


def is_exit_signal(error: BaseException | None) -> bool:
    """Whether an exception is Ctrl-C or another signal that ends the program."""
    return error is not None and not isinstance(error, Exception | GeneratorExit)


def with_local_counts(chunk: Chunk, image_tokens: int, waited: float) -> Chunk:
    """The last chunk with the image tokens, which vLLM does not report, and the seconds of waiting for its start."""
    if not chunk.usage or not chunk.timings:
        return chunk
    timings = replace(chunk.timings, load=waited, total=chunk.timings.total + waited)
    return replace(chunk, usage=replace(chunk.usage, image_tokens=image_tokens), timings=timings)
