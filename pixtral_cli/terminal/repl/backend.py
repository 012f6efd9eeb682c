"""The engine of a REPL, which is opened and loaded in the background while the user types."""

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
    """The progress of a model that another process loads; `loaded` is the fraction, `doing` the current step."""

    loaded: float = 0.0
    doing: str = ""

    def update(self, percent: int, doing: str) -> None:
        """Called by the code that opens the engine."""
        self.loaded, self.doing = percent / 100, doing


@dataclass(frozen=True, slots=True)
class ModelOpener:
    """A model that can be opened.

    `open` returns its engine; it is called in a thread and may import heavy libraries. If it or the loading fails it is
    called again for the next question. `sampling` are the parameters to use, `usual` those without the user's settings.
    `note` is a message for the start of the chat, `news` collects later ones, `far` is the progress of `open`. `engine`
    is the engine's name, `server` the URL of a remote one.
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
    """An `Engine` that is opened and loaded in a thread. `start` returns at once; `stream` and `measure` wait.

    `changed` is called in that thread when loading has finished or failed. `after` is a closed backend, whose memory must
    be released before this one loads.
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
        self._finished = threading.Event()
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
        return "loading" if not self._finished.is_set() else "failed" if self._error else "ready"

    @property
    def seconds(self) -> float:
        """The seconds since loading started; 0 before."""
        return time.monotonic() - self._begin if self._begin else 0.0

    @property
    def doing(self) -> str:
        """The current step of loading, with its progress; "" when loading has ended."""
        if self.state not in ("waiting", "loading"):
            return ""
        progress = self._engine if isinstance(self._engine, LoadableEngine) else self.opening.far
        return progress.doing or f"loading {self.name}" + f" {progress.loaded:.0%}" * (progress.loaded > 0)

    @property
    def error(self) -> PixtralError | None:
        return self._error

    def start(self) -> None:
        """Start opening and loading, once."""
        if not self._begin:
            self._begin = time.monotonic()
            self._thread.start()

    def _restart(self) -> None:
        """Prepare to open and load again after a failure."""
        self._thread.join()
        if self._engine:
            self._engine.close()
        self._engine = self._error = None
        self._opened.clear()
        self._finished.clear()
        self._begin = 0.0
        self._thread = self._loader()

    def _loader(self) -> threading.Thread:
        return threading.Thread(target=self._open_and_load, name="pixtral-load", daemon=True)

    def engine(self) -> Engine:
        """The engine with its weights loaded; waits for them (Ctrl-C ends the wait). Raises what loading raised."""
        self.start()
        _wait(self._finished)
        return self._opened_engine()

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        """See `Engine`. Waits until the engine is loaded; loads again after a failure."""
        if self.state == "failed" and not self._closed:
            self._restart()
        yield from self.engine().stream(messages, sampling)

    def measure(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Cost:
        """See `Engine`. Waits until the engine is open. Raises what opening raised."""
        self.start()
        _wait(self._opened)
        return self._opened_engine().measure(messages, tools)

    def close(self) -> None:
        """Close the engine; one that is loading is aborted and closed afterwards."""
        self._closed = True
        if self._finished.is_set() and self._engine:
            self._engine.close()

    def _opened_engine(self) -> Engine:
        if self._error:
            raise self._error
        assert self._engine is not None
        return self._engine

    def _wait_until_released(self) -> None:
        """Wait until a closed backend has released its engine; an engine that is still being opened is not waited for."""
        if after := self._after:
            after._wait_until_released()
        if self._engine:
            self._thread.join()

    def _check(self) -> None:
        if self._closed:
            raise LoadCancelled(f"{self.name} is no longer needed")

    def _open_and_load(self) -> None:
        try:
            if self._after:
                self._after._wait_until_released()
                self._after = None
            self._check()
            self._engine = self.opening.open()
            self._opened.set()
            if isinstance(self._engine, LoadableEngine):
                self._check()
                self._engine.load(self._check)
        except LoadCancelled as error:
            self._error = LoadCancelled(error.message)  # without the traceback, which holds references to the weights
        except PixtralError as error:
            self._error = error
        except BaseException as error:  # raised again in the threads that wait
            why = str(error) or type(error).__name__
            self._error = PixtralError(f"{self.name} cannot be loaded: {why}", "/model NAME switches to another")
            self._error.__cause__ = error
        finally:
            self._finished.set()
            self._opened.set()
            if self._closed and self._engine:
                self._engine.close()
            self.changed()


def _wait(event: threading.Event) -> None:
    """Wait in steps, since on Windows Ctrl-C is handled only between them."""
    while not event.wait(0.2):
        pass
