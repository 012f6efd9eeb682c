"""A REPL without a terminal: keys go in through a pipe, a fake engine answers, what is said is gathered."""

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.engine import Engine
from pixtral_cli.errors import ModelError
from pixtral_cli.images.image import Image
from pixtral_cli.sessions.library import Sessions
from pixtral_cli.terminal.desktop.clipboard import Desktop
from pixtral_cli.terminal.output.notes import Notes
from pixtral_cli.terminal.output.output import Output
from pixtral_cli.terminal.repl.backend import Backend, ModelOpener
from pixtral_cli.terminal.repl.history import InputHistory
from pixtral_cli.terminal.repl.prompt import Prompt
from pixtral_cli.terminal.repl.repl import Repl
from pixtral_cli.terminal.repl.state import State
from tests.fakes import FakeEngine

EMPTY = "\x05\x15"  # Ctrl-E, Ctrl-U


def nowhere(command: Sequence[str], data: bytes | None = None, seconds: float = 10) -> bytes | None:
    return None


@dataclass
class Room:
    """What a test sees of a REPL that has ended, or is to begin with what is set here."""

    folder: Path
    engine: FakeEngine = field(default_factory=FakeEngine)
    open: Callable[[], Engine] | None = None
    others: dict[str, Engine] = field(default_factory=dict)
    desktop: Desktop = field(default_factory=lambda: Desktop({}, "linux", lambda name: None, nowhere))
    shown: list[Image] = field(default_factory=list)
    log: bool = True
    said: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.answered = io.StringIO()
        self.sessions = Sessions(self.folder / "data")
        self.recall = InputHistory(self.folder / "lines.jsonl")
        self._out = Output(self.answered, self.said)
        self.state = self._state()

    def type(self, *lines: str) -> str:
        """Type lines, each on an emptied line and ended by Enter; then leave."""
        return self.keys("".join(f"{EMPTY}{line}\r" for line in lines))

    def keys(self, keys: str, draft: str = "") -> str:
        """Press keys, `draft` standing in the line, then empty the line and press Ctrl-D; returns what was said beside the answers."""
        with self.repl(keys + EMPTY + "\x04", draft) as repl:
            repl.run()
        return self.said.getvalue()

    @property
    def answers(self) -> list[str]:
        return self.answered.getvalue().split("\n")[:-1]

    def asked(self, turn: int = -1) -> list[str]:
        """What the engine was asked: the parts of the last message, an image by its name in brackets."""
        parts = self.engine.seen[turn][0][-1].parts
        return [f"[{part.name}]" if isinstance(part, Image) else part for part in parts]

    @contextlib.contextmanager
    def repl(self, keys: str, draft: str = "") -> Iterator[Repl]:
        with create_pipe_input() as pipe:
            pipe.send_text(keys)
            prompt = Prompt(
                self.recall,
                lambda before: (),
                lambda text, pasted, columns: "",
                self.state.backend.start,
                self.state.end_edit,
                input=pipe,
                output=DummyOutput(),
            )
            yield Repl(self.state, prompt, self._out, draft=draft)

    def _state(self) -> State:
        session = self.sessions.start(model="fake") if self.log else None
        return State(
            session.conversation() if session else Conversation(),
            Backend(ModelOpener("fake", self.open or (lambda: self.engine))),
            self._opening,
            Notes(self._out, width=500),
            lambda: self.sessions,
            session,
            None,
            lambda: list(self.others),
            self._thumbnail,
            lambda: self.desktop,
        )

    def _opening(self, name: str) -> ModelOpener:
        if name not in self.others:
            raise ModelError(f"There is no model named {name!r}")
        return ModelOpener(name, lambda: self.others[name])

    def _thumbnail(self, image: Image, wanted: str) -> str:
        if wanted != "off":
            self.shown.append(image)
        return ""
