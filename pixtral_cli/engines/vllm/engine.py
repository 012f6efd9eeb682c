"""The vLLM engine: a `vllm serve` of our own for one checkpoint, and the remote client to talk to it.

Leaves its command line to `command`, its process to `process`, HTTP to `remote` and counting tokens to the local engine.
"""

import contextlib
import io
import os
import secrets
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pixtral_cli.chat.engine import Chunk, Cost, Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.engines import resident
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.remote.client import ApiClient, Cancellation
from pixtral_cli.engines.remote.engine import RemoteEngine
from pixtral_cli.engines.remote.errors import Endpoint, Refused
from pixtral_cli.engines.vllm.checkpoint_folder import prepare_checkpoint
from pixtral_cli.engines.vllm.command import VllmOptions
from pixtral_cli.engines.vllm.log import LOADING
from pixtral_cli.engines.vllm.process import VllmProcess, start_vllm
from pixtral_cli.errors import NetworkError, PixtralError, UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.structured.schema import with_schema_prompt

MAX_LOG_SILENCE = 900.0  # seconds in which a vLLM that starts writes something into its log
EXIT_TIMEOUT = 15.0  # seconds that a vLLM which breaks off takes to end
POLL_INTERVAL = 0.2
DEVICES = ("auto", "cuda")


class VllmEngine(RemoteEngine):
    """An `Engine` over a `vllm serve`, which the first question starts and `close` ends.

    `doing` says what it does while it starts, `loaded` the part of the weights it has read; any thread may look.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        launch: VllmOptions,
        device: str = "auto",
        dtype: str = "auto",
        patience: float = MAX_LOG_SILENCE,
    ) -> None:
        if device not in DEVICES:
            raise UsageError(
                f"vLLM chooses its devices itself, not --device {device}", "Name GPUs: CUDA_VISIBLE_DEVICES"
            )
        socket = resident.socket_folder(Path(launch.state)) / f"{os.getpid()}-{secrets.token_hex(4)}.vllm"
        self._at = Endpoint("http://localhost/v1", secrets.token_urlsafe(32), socket, "vLLM")
        super().__init__(ApiClient(self._at, patience=None), name)
        self._encode = self._exact
        self._counter = LocalEngine(folder, name=name)
        self._launch, self._dtype, self._patience = launch, dtype, patience
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._process: VllmProcess | None = None
        self._left: VllmProcess | None = None  # one that is ending, which nobody waited for
        self._window: int | None = None

    @property
    def doing(self) -> str:
        """What it does before it can answer; empty once it can."""
        process = self._process
        if process is None or self._window is not None or process.ended:
            return ""
        percent = f" {process.loaded:.0%}" if process.doing == LOADING and process.loaded else ""
        return f"vLLM starts: {process.doing}{percent}"

    @property
    def loaded(self) -> float:
        return self._process.loaded if self._process else 0.0

    def measure(self, messages: Sequence[Message]) -> Cost:
        """See `Engine`. The checkpoint's own tokenizer counts."""
        cost = self._counter.measure(messages)
        return replace(cost, context_window=self._window or cost.context_window)

    def versions(self) -> dict[str, str]:
        """vLLM's own, once it runs."""
        if self._window is None:
            return {}
        return {"vllm": version} if (version := super().versions().get("version")) else {}

    def load(self, check: Callable[[], None] = lambda: None) -> None:
        """Start vLLM unless it runs, and wait until it answers; `check` is called often and may raise.

        Raises what keeps it from starting, as UsageError, ModelError, OutOfMemory, NetworkError or PixtralError.
        """
        with self._lock:
            if self._process and not self._process.ended:
                return
            if self._left:  # its guard removes the socket, which is the next one's too
                self._left.stop()
            self._window = self._left = None
            self._process = start_vllm(self._launch, self._folder(), self.model, self._dtype, self._at)
            try:
                self._window = self._wait(self._process, check)
            except PixtralError:
                self._process.stop()
                raise
            except BaseException:  # Ctrl-C: whoever leaves doesn't wait for it
                self._process.leave()
                self._process, self._left = None, self._process
                raise

    def _folder(self) -> Path:
        """What vLLM is to load. Over several machines it is the checkpoint itself: only that lies in the same place on each."""
        folder = self._counter.folder
        if self._launch.ray:
            return folder.resolve()
        return prepare_checkpoint(folder, self._counter.params.context_window, Path(self._launch.cache))

    def _wait(self, process: VllmProcess, check: Callable[[], None]) -> int:
        """Until it answers; the context window it then tells."""
        with contextlib.closing(ApiClient(self._at, patience=10)) as asked:
            while not self._closing.wait(POLL_INTERVAL):
                check()
                if process.ended:
                    raise process.failure()
                process.listen()
                if window := self._answered(asked):
                    return window
                if time.monotonic() - process.heard_at > self._patience:
                    silent = f"vLLM has said nothing for {self._patience:.0f} s while {process.doing}"
                    raise PixtralError(silent, f"It was ended. Its log: {process.log}")
        raise NetworkError("vLLM is no longer wanted")

    def _answered(self, asked: ApiClient) -> int | None:
        """The window that vLLM tells; None while it doesn't listen, or is too busy."""
        try:
            listed = asked.get("/models")
        except Refused:
            raise
        except NetworkError:
            return None
        try:
            return int(listed["data"][0]["max_model_len"])
        except (KeyError, IndexError, TypeError, ValueError):
            return self._counter.params.context_window

    def _answer(
        self, messages: Sequence[Message], sampling: Sampling, cut: Cancellation
    ) -> Generator[Chunk, None, None]:
        began = time.monotonic()
        self._room(messages, sampling)
        self.load()
        waited = time.monotonic() - began
        cost = self._room(messages, sampling)  # its window may be smaller than the checkpoint's
        with self._telling_its_end(cut):
            for chunk in super()._answer(messages, sampling, cut):
                yield _with_local_counts(chunk, cost.image_tokens, waited)

    def _room(self, messages: Sequence[Message], sampling: Sampling) -> Cost:
        """What it costs. Raises ContextError when prompt and answer do not fit."""
        cost = self.measure(with_schema_prompt(messages, sampling.schema))
        cost.check_fits(sampling.max_tokens)
        return cost

    @contextlib.contextmanager
    def _telling_its_end(self, cut: Cancellation) -> Iterator[None]:
        """When vLLM breaks off because it ended, say why it ended. The next question starts it anew."""
        try:
            yield
        except NetworkError as error:
            process = self._process
            if cut.done.is_set() or self._closing.is_set() or not process or not process.over(EXIT_TIMEOUT):
                raise
            raise process.failure() from error

    def _exact(self, image: Image) -> str:
        """A data URL of the pixels that the local engine would hand to the same resizing, without loss."""
        grid = self._counter.tokenizer.grid
        wanted = grid(image.size)
        pixels = image.pixels(at_least=(wanted.width, wanted.height))
        if grid(pixels.size) != wanted:
            pixels = image.pixels()
        file = io.BytesIO()
        pixels.save(file, "PNG", compress_level=1)
        return f"data:image/png;base64,{b64encode(file.getvalue()).decode('ascii')}"

    def close(self) -> None:
        """End vLLM, also one that is still starting. Whoever leaves for a signal doesn't wait for its end."""
        self._closing.set()
        with self._lock:
            if self._process:
                (self._process.leave if _is_exit_signal(sys.exception()) else self._process.stop)()
        super().close()


def _is_exit_signal(error: BaseException | None) -> bool:
    """Whether what is being raised is no error but Ctrl-C, or a signal that ends the program."""
    return error is not None and not isinstance(error, Exception | GeneratorExit)


def _with_local_counts(chunk: Chunk, image_tokens: int, waited: float) -> Chunk:
    """The last chunk, with what vLLM doesn't tell: the images' tokens, and what waiting for it took."""
    if not chunk.usage or not chunk.timings:
        return chunk
    timings = replace(chunk.timings, load=waited, total=chunk.timings.total + waited)
    return replace(chunk, usage=replace(chunk.usage, image_tokens=image_tokens), timings=timings)
