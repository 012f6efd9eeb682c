"""`pixtral chat` in a pseudo-terminal that answers what a terminal is asked: what a person types and sees."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from PIL import Image as PIL
from PIL import ImageDraw

from pixtral_cli.sessions.library import SavedSession, Sessions
from tests.terminal.emulator import Terminal, lines_of

ROOT = Path(__file__).parents[3]


class Chat(Terminal):
    """A context; `start` or `echo` begins the chat, leaving the context ends whatever still runs."""

    process: subprocess.Popen[bytes]

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        super().__init__(columns, rows)
        self.screen.write_process_input = self._answer
        self.kitty = False  # whether it says that it draws pictures
        self.ahead = b""  # what is typed while it is asked that
        self.at_once = b""  # what is typed before anything is shown
        self.stdout: BinaryIO | None = None  # where answers go, if not to the terminal
        self.folder: Path | None = None  # where it starts, if not here

    def start(self, *flags: str, module: str = "pixtral_cli", **env: str) -> None:
        words = ("chat", *flags) if module == "pixtral_cli" else flags
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT), "PIXTRAL_PREVIEW": "0", **env}
        streams = {"stdout": self.stdout} if self.stdout else {}
        self.process = self.run(sys.executable, "-m", module, *words, env=environment, cwd=self.folder, **streams)
        if self.at_once:
            self.type(self.at_once)
        self.until(lambda: "\n>" in self.text, "the prompt")

    def echo(self, *flags: str, **env: str) -> None:
        """The chat whose engine repeats what it is asked."""
        self.start(*flags, module="tests.terminal.repl.fake_chat", **env)

    def say(self, line: str, answer: str) -> None:
        """Type a line and wait until the answer and then a new prompt follow it."""
        seen = self.text.count(f"> {line}\n")

        def answered() -> bool:
            pieces = self.text.split(f"> {line}\n")
            return len(pieces) > seen + 1 and "\n>" in pieces[-1].partition(answer)[2]

        self.type(line.encode() + b"\r")
        self.until(answered, answer)

    def until(self, there: Callable[[], bool], what: str, seconds: float = 240) -> None:
        """Wait until something is so."""
        with self._arrived:
            came = self._arrived.wait_for(there, seconds)
        assert came, f"{what!r} did not come: {self.lines}"

    def end(self, status: int = 0, keys: bytes = b"\x04") -> None:
        self.type(keys)
        left = self.process.wait(120)
        assert left == status, (left, self.lines)

    @property
    def text(self) -> str:
        """What the screen shows above the toolbar, a blank line before it. For use where nothing can arrive meanwhile."""
        lines = lines_of(self.screen)
        for height in (1, 2):  # of the toolbar, in a narrow window
            if re.match(r"(loading )?demo\b", lines[-height] if len(lines) >= height else ""):
                del lines[-height:]
                break
        return "\n" + "\n".join(lines).rstrip("\n") + "\n"

    def _answer(self, data: str) -> None:
        """The cursor's place, or what kind of terminal this is."""
        kind = data.endswith("c")
        graphics = b"\x1b_Gi=31;OK\x1b\\" if self.kitty and kind else b""
        self.type((self.ahead if kind else b"") + graphics + data.encode())

    def __exit__(self, *error: object) -> None:
        if hasattr(self, "process") and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        super().__exit__(None, None, None)


def draw_pictures(folder: Path) -> None:
    """A red circle, `circle.png`, and a blue square, `my square.png`."""
    for name, shape, colour in (("circle.png", "ellipse", "red"), ("my square.png", "rectangle", "blue")):
        picture = PIL.new("RGB", (256, 192), "white")
        getattr(ImageDraw.Draw(picture), shape)((70, 40, 190, 160), fill=colour)
        picture.save(folder / name)


def draw_pair(file: Path, left: str, right: str) -> None:
    """A colour's circle or square on either side: `red circle`, `blue square`."""
    picture = PIL.new("RGB", (256, 192), "white")
    for things, x in ((left, 20), (right, 150)):
        colour, shape = things.split()
        draw = ImageDraw.Draw(picture)
        (draw.ellipse if shape == "circle" else draw.rectangle)((x, 56, x + 80, 136), fill=colour)
    picture.save(file)


def saved(home: Path) -> SavedSession:
    """The newest session of the user who lives there."""
    sessions = Sessions(home / "pixtral" / "data")
    return sessions.load(sessions.newest().id)
