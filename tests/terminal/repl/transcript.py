"""A chat that lives through many checks: what has been shown since a check began, and what stands below the line."""

import re

from tests.terminal.emulator import lines_of
from tests.terminal.repl.chatting import Chat

CLEAR = b"\x05" + b"\x15\x7f" * 5  # Ctrl-E, then Ctrl-U and backspace for each of up to five lines
BEGIN_PASTE, END_PASTE = "\x1b[200~", "\x1b[201~"


class Transcript(Chat):
    """A chat of which each check sees what came after it began."""

    drawn = True  # whether there is a toolbar, and keys that edit the line
    _begun = 0  # the row, counted from the first one that ever scrolled away, at which the check began

    def begin(self) -> None:
        """A new check: the line is emptied, and what was shown before is of no matter."""
        if self.drawn:
            self.type(CLEAR)
        self.until(lambda: self.at_prompt, "an empty line")
        self._begun = self._row

    def say(self, line: str, answer: str = "") -> str:
        """Type a line and wait for `answer` in what follows it and then for the prompt; returns all that was said."""
        self.begin()
        self.type(line.encode() + b"\r")
        self.until(lambda: self.at_prompt and self._row > self._begun and answer in self.shown, answer or "the prompt")
        return self.shown

    def hold(self, line: str, *below: str) -> str:
        """Type a line without sending it and wait for what is to stand below it; returns the toolbar."""
        self.begin()
        self.type(line.encode())
        paste = f"{re.escape(BEGIN_PASTE)}.*{re.escape(END_PASTE)}"
        typed = "".join(re.sub(paste, "", line, flags=re.DOTALL).split())
        self.until(
            lambda: typed in "".join(self.shown.split()) and all(text in self.toolbar for text in below), str(below)
        )
        return self.toolbar

    @property
    def shown(self) -> str:
        """What the check has brought to the screen: words by one blank each, as none may be broken in its middle."""
        with self._arrived:
            return " ".join(" ".join(lines_of(self.screen)[self._begun :]).split())

    @property
    def toolbar(self) -> str:
        """What stands below the line that is typed."""
        with self._arrived:
            below = [line.strip() for line in self.screen.display[self.screen.cursor.y + 1 :]]
        return " ".join(" ".join(below).split())

    @property
    def at_prompt(self) -> bool:
        """Whether an empty line waits to be typed in, with a toolbar below it."""
        cursor = self.screen.cursor
        line = self.screen.display[cursor.y].rstrip()
        below = bool(self.toolbar) or not self.drawn
        return cursor.x == 2 and (line == ">" or line.startswith("> Ask something")) and below

    @property
    def _row(self) -> int:
        with self._arrived:
            return len(self.screen.history.top) + int(self.screen.cursor.y)
