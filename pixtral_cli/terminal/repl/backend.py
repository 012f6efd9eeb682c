"""The engine of a REPL: opened and loaded in the background while the user types."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pixtral_cli.chat.engine import Chunk, Cost, Engine, LoadableEngine, Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.chat.tools import Tool
from pixtral_cli.errors import PixtralError

State = Literal["waiting", "loading", "ready", "failed"]


@dataclass
class LoadProgress:
    """The progress of a model that another process loads while its engine is opened."""

    loaded: float = 0.0
    doing: str = ""

    def hear(self, percent: int, doing: str) -> None:
        self.loaded, self.doing = percent / 100, doing


@dataclass(frozen=True, slots=True)
class ModelOpener:
    """A model that can be opened: its name, what opens its engine, and the sampling it likes best.

    `open` may import heavy libraries; it is called in a thread, and again for the next question when it or the loading
    failed. `note` is called with messages, `news` whenever
    there is some, `far` while it opens. `usual` is the sampling when nothing is set; `engine` and `server` say who
    answers and, if that is another machine, at which URL.
    """

    name: str
    open: Callable[[], Engine]
    sampling: Sampling = field(default_factory=Sampling)
    note: str = ""
    news: list[str] = field(default_factory=list)
    far: LoadProgress = field(default_factory=LoadProgress)
    usual: Sampling = field(default_factory=Sampling)
    engine: str = "local"
    server: str = ""


class LoadCancelled(PixtralError):
    """The engine was closed while it was loading."""


class Backend:
    """An `Engine` that gets ready in a thread. `start` returns at once; `stream` and `measure` wait for what they need.

    `changed` is called, in that thread, when it is ready or has failed. `after`: one that was closed, whose place it
    takes once that has let go of the memory.
    """

    def __init__(
        self, opening: ModelOpener, changed: Callable[[], None] = lambda: None, after: "Backend | None" = None
    ) -> None:
        self.opening = opening
        self.changed = changed
        self._after = after
        self._engine: Engine | None = None
        self._error: PixtralError | None = None
        self._opened = threading.Event()
        self._settled = threading.Event()
        self._begin = 0.0
        self._closed = False
        self._thread = self._loader()

    @property
    def name(self) -> str:
        return self.opening.name

    @property
    def state(self) -> State:
        if not self._begin:
            return "waiting"
        return "loading" if not self._settled.is_set() else "failed" if self._error else "ready"

    @property
    def seconds(self) -> float:
        """Seconds of loading so far."""
        return time.monotonic() - self._begin if self._begin else 0.0

    @property
    def doing(self) -> str:
        """The work before it can answer and its progress, as the engine reports it; "" once it can."""
        if self.state not in ("waiting", "loading"):
            return ""
        progress = self._engine if isinstance(self._engine, LoadableEngine) else self.opening.far
        return progress.doing or f"loading {self.name}" + f" {progress.loaded:.0%}" * (progress.loaded > 0)

    @property
    def error(self) -> PixtralError | None:
        return self._error

    def start(self) -> None:
        """Open and load, once."""
        if not self._begin:
            self._begin = time.monotonic()
            self._thread.start()

    def _try_again(self) -> None:
        """Open and load anew after a failure, which may have been mended since."""
        self._thread.join()
        if self._engine:
            self._engine.close()
        self._engine = self._error = None
        self._opened.clear()
        self._settled.clear()
        self._begin = 0.0
        self._thread = self._loader()

    def _loader(self) -> threading.Thread:
        return threading.Thread(target=self._work, name="pixtral-load", daemon=True)

    def engine(self) -> Engine:
        """The engine with its weights loaded; waits for them (Ctrl-C ends the wait). Raises what loading raised."""
        self.start()
        _wait(self._settled)
        return self._had()

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        """Wait for the weights, then answer: the question is on record while it waits. Tries again what had failed."""
        if self.state == "failed" and not self._closed:
            self._try_again()
        yield from self.engine().stream(messages, sampling)

    def measure(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Cost:
        """Count tokens as soon as the engine is open. Raises what opening raised."""
        self.start()
        _wait(self._opened)
        return self._had().measure(messages, tools)

    def close(self) -> None:
        """Let go of the engine; one that is still loading breaks off and goes then."""
        self._closed = True
        if self._settled.is_set() and self._engine:
            self._engine.close()

    def _had(self) -> Engine:
        if self._error:
            raise self._error
        assert self._engine is not None
        return self._engine

    def _gone(self) -> None:
        """Wait until it has let go of its engine, having been closed. One that is only being opened is not waited for."""
        if after := self._after:
            after._gone()
        if self._engine:
            self._thread.join()

    def _check(self) -> None:
        if self._closed:
            raise LoadCancelled(f"{self.name} is no longer needed")

    def _work(self) -> None:
        try:
            if self._after:
                self._after._gone()
                self._after = None
            self._check()
            self._engine = self.opening.open()
            self._opened.set()
            if isinstance(self._engine, LoadableEngine):
                self._check()
                self._engine.load(self._check)
        except LoadCancelled as error:
            self._error = LoadCancelled(error.message)  # without its traceback, which would hold on to the weights
        except PixtralError as error:
            self._error = error
        except BaseException as error:  # raised again in the threads that wait
            why = str(error) or type(error).__name__
            self._error = PixtralError(f"{self.name} cannot be loaded: {why}", "/model NAME switches to another")
            self._error.__cause__ = error
        finally:
            self._settled.set()
            self._opened.set()
            if self._closed and self._engine:
                self._engine.close()
            self.changed()


def _wait(event: threading.Event) -> None:
    """Wait in steps: on Windows Ctrl-C is noticed between them only."""
    while not event.wait(0.2):
        pass
