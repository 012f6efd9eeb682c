"""`python -m docs.record`: plays a conversation with the demo model in a real terminal and writes it to docs/chat.svg.

Every answer is what the program said just now, and the recording fails where it is not what the pictures show.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyte

from docs.film import Cell, Frame, svg
from tests.terminal.emulator import Terminal

ROOT = Path(__file__).parent.parent
FILM = ROOT / "docs" / "chat.svg"
COLUMNS, ROWS = 84, 27
TITLE = "pixtral chat"
KEY, LOOK, READ, LONGEST, END = 0.045, 0.5, 1.6, 2.0, 5.0  # seconds: between keys, before Enter, at an answer, …

# What is typed, and what must come of it.
SCENES = (
    ("pixtral chat -m demo", "Ask something"),
    ("shapes.png What is in the image?", "red circle, a blue star and a green triangle."),
    ("Which shape is the biggest?", "The blue star."),
    ("/clear", "A new conversation begins."),
    ("runs.png At which step did things start to go wrong for the red line?", "At step 4."),
    ("/clear", "A new conversation begins."),
    ("near-far.png Is this person really big, or is the building small?", "the person is near"),
    ("/clear", "A new conversation begins."),
    ("sketch.png Write HTML to create a website like this", "<button>"),
    ("/save 1 page.html", "Written to page.html"),
)


class Screen(pyte.HistoryScreen):
    """Faint text is grey, of which the emulator knows nothing, and what a terminal is asked is answered."""

    answer: Callable[[str], None]

    def write_process_input(self, data: str) -> None:
        self.answer(data)

    def select_graphic_rendition(self, *codes: int) -> None:
        super().select_graphic_rendition(*codes)
        if codes == (2,):
            self.cursor.attrs = self.cursor.attrs._replace(fg="brightblack")


class Recorder(Terminal):
    """A terminal that remembers every screen and when it came."""

    def __init__(self) -> None:
        super().__init__(COLUMNS, ROWS)
        self.taken: list[tuple[float, Frame]] = []
        self.screen = screen = Screen(COLUMNS, ROWS)
        screen.answer = lambda data: self.type(data.encode())
        self._stream = pyte.ByteStream(screen)

    def changed(self) -> None:
        self.taken.append((time.monotonic(), self.now()))

    def now(self) -> Frame:
        rows = tuple(tuple(map(_cell, self._row(number))) for number in range(ROWS))
        cursor = self.screen.cursor
        return Frame(rows, 0.0, None if cursor.hidden else (cursor.x, cursor.y))

    def _row(self, number: int) -> Iterator[Any]:
        line = self.screen.buffer[number]
        return (line[column] for column in range(COLUMNS))

    def until(self, text: str, after: int) -> None:
        """Wait until this stands on the screen, and then the prompt, both later than the screen number `after`."""

        def there() -> bool:
            shown = "\n".join(self.screen.display).rstrip()
            return len(self.taken) > after and text in shown

        with self._arrived:
            assert self._arrived.wait_for(there, 60), f"{text!r} did not come:\n" + "\n".join(self.screen.display)

    def say(self, line: str, answer: str) -> None:
        for key in line:
            self.type(key.encode())
            time.sleep(KEY)
        time.sleep(LOOK)
        seen = len(self.taken)
        self.type(b"\r")
        self.until(answer, seen)
        time.sleep(READ)


def _cell(character: Any) -> Cell:
    fg, bg = (character.bg, character.fg) if character.reverse else (character.fg, character.bg)
    look = character.bold, character.italics, character.underscore, character.strikethrough
    return Cell(character.data or " ", fg, bg, *look)


def film(taken: list[tuple[float, Frame]]) -> list[Frame]:
    """The screens with how long each stood: none shorter than an eye sees, none longer than it likes to wait."""
    frames: list[Frame] = []
    ends = [at for at, _ in taken[1:]] + [taken[-1][0] + END]
    for (at, frame), end in zip(taken, ends, strict=True):
        seconds = min(end - at, LONGEST) if end < ends[-1] else END
        if frames and (frames[-1].seconds < 0.03 or same(frames[-1], frame)):
            frames[-1] = replace(frame, seconds=frames[-1].seconds + seconds)
        else:
            frames.append(replace(frame, seconds=seconds))
    return frames


def same(one: Frame, other: Frame) -> bool:
    return replace(one, seconds=0.0) == replace(other, seconds=0.0)


def play(folder: Path) -> list[Frame]:
    """The conversation in a shell, in a folder with the example pictures."""
    for picture in (ROOT / "examples").glob("*.png"):
        shutil.copy(picture, folder)
    env = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder), "PIXTRAL_HOME": str(folder / ".pixtral"),
        "TERM": "screen-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8", "PS1": "$ ",
    }  # fmt: skip
    terminal = Recorder()
    with terminal:
        shell = terminal.run("bash", "--norc", "--noprofile", env=env, cwd=folder)
        terminal.until("$", 0)
        for line, answer in SCENES:
            terminal.say(line, answer)
        taken = list(terminal.taken)
        terminal.type(b"\x04")
        terminal.until("\n$", len(taken))
        terminal.type(b"exit\r")
        shell.wait(30)
    return film(taken)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="pixtral-") as folder:
        frames = play(Path(folder))
    FILM.write_text(svg(frames, COLUMNS, TITLE), encoding="utf-8")
    seconds = sum(frame.seconds for frame in frames)
    print(f"{FILM.relative_to(ROOT)}: {len(frames)} frames, {seconds:.0f} s, {FILM.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
