"""Reads the keys that are typed while an answer streams, and shows them below the answer as a draft."""

import codecs
import os
import re
import select
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO

from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys
from wcwidth import wcswidth

from pixtral_cli.chat.engine import Chunk, Cost
from pixtral_cli.terminal.output.notes import wrap_pieces
from pixtral_cli.util.sanitize import visible

PASTE_ON, PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"  # xterm's bracketed paste
PASTE_BEGIN, PASTE_END = "\x1b[200~", "\x1b[201~"
MAX_DRAFT_LINES = 4
MAX_TYPING_SPEED = 50  # characters a second; several lines that come faster are a paste
_SEVERAL_LINES = re.compile(r"[\r\n][^\r\n]")


class AnswerInput:
    """A context around one answer. `footer` reads the keyboard and returns the lines to show below the answer.

    Each Enter ends an entry of the draft; the entries are sent one after the other when the answer has ended. `queued`:
    Enter was pressed after the last one. `doing` returns the engine's current step of loading, or "".
    """

    def __init__(self, keyboard: int, screen: TextIO, doing: Callable[[], str]) -> None:
        self.entries, self.queued = [""], False
        self._leaving = False  # Ctrl-D was pressed on an empty draft
        self._keyboard, self._screen = keyboard, screen
        self._doing = doing
        self._keys: list[KeyPress] = []
        self._parser = Vt100Parser(self._keys.append)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._tokens = 0
        self._thinking = False
        self._cost: Cost | None = None
        self._began, self._first = time.monotonic(), 0.0
        self._last_read = self._began

    @property
    def draft(self) -> str:
        """All that was typed, its entries as lines."""
        return "\n".join(self.entries)

    def __enter__(self) -> "AnswerInput":
        self._screen.write(PASTE_ON)
        self._screen.flush()
        return self

    def __exit__(self, *error: object) -> None:
        self._screen.write(PASTE_OFF)
        self._screen.flush()

    def counted(self, chunks: Iterator[Chunk], cost: Callable[[], Cost | None]) -> Iterator[Chunk]:
        """The chunks, counted for the footer; closing this closes them. `cost` is called after the first chunk."""
        try:
            for chunk in chunks:
                if not self._first:
                    self._first = time.monotonic()
                    self._cost = cost()
                self._tokens += bool(chunk.text or chunk.reasoning)
                self._thinking = bool(chunk.reasoning)
                yield chunk
        finally:
            if close := getattr(chunks, "close", None):
                close()

    def footer(self, columns: int) -> list[str]:
        """The state of the answer, and the draft after `> `, in at most `columns` columns."""
        self.read()
        status = [f"\x1b[2m{line}\x1b[0m" for line in wrap_pieces(self._status(), columns - 1).split("\n")]
        if not self.draft:
            return ["", *status]
        lines = [visible(line, 10_000) for entry in self.entries for line in f"> {entry}".split("\n")]
        if len(lines) > MAX_DRAFT_LINES:
            lines = [f"> … {len(lines)} lines", *lines[1 - MAX_DRAFT_LINES :]]
        return ["", *status, *(_tail(line, columns - 2) for line in lines)]

    def typed(self) -> bytes:
        """The draft as keys for the next prompt, with Enter if it is queued; Ctrl-D if that was pressed."""
        ended = [text.strip("\n") for text in (self.entries if self.queued else self.entries[:-1])]
        keys = "".join(f"{_as_keys(text)}\r" for text in ended)
        if not self.queued:
            keys += _as_keys(self.entries[-1])
        return (keys + "\x04" * self._leaving).encode()

    def _status(self) -> list[str]:
        if not self._first:
            waited = time.monotonic() - self._began
            doing = self._doing() or "reading the question"
            return ["Ctrl-C stops", f"{doing}, {waited:.0f} s"]
        pieces = ["Ctrl-C stops", *(["thinking"] if self._thinking else [])]
        seconds = time.monotonic() - self._first
        if self._tokens > 1 and seconds > 0.2:
            pieces.append(f"{(self._tokens - 1) / seconds:,.0f} tokens/s")
        if self._cost:
            pieces.append(f"{self._cost.prompt_tokens + self._tokens:,} of {self._cost.context_window:,}")
        if self.queued:
            pieces.append("sent after the answer" if len(self.entries) == 1 else "sent one by one after the answer")
        return pieces

    def read(self) -> None:
        """Read the keys that have been typed since the last call."""
        while select.select([self._keyboard], [], [], 0)[0]:
            try:
                data = os.read(self._keyboard, 65_536)
            except OSError:
                return
            if not data:
                return
            self._process(self._decoder.decode(data), time.monotonic() - self._last_read)
        self._last_read = time.monotonic()

    def _process(self, text: str, seconds: float) -> None:
        """Process what has come within so many seconds."""
        pasted = "\x1b" not in text and _SEVERAL_LINES.search(text) and len(text) > MAX_TYPING_SPEED * seconds
        if pasted:  # in a terminal that does not mark it
            self._insert(text.replace("\r\n", "\n").replace("\r", "\n").strip("\n"))
            return
        self._keys.clear()
        self._parser.feed(text)
        self.process_keys(list(self._keys))

    def process_keys(self, keys: Iterable[KeyPress]) -> None:
        """Process keys, which may have been typed before."""
        for press in keys:
            self._process_key(press)

    def _process_key(self, press: KeyPress) -> None:
        if press.key == Keys.BracketedPaste:
            self._insert(press.data.replace("\r\n", "\n").replace("\r", "\n").strip("\n"))
        elif press.key in (Keys.ControlM, Keys.Enter):
            self.queued = bool(self.entries[-1].strip())
        elif press.key == Keys.ControlD:
            self._leaving = self.queued or not self.draft
        elif press.key == Keys.ControlJ:
            self._insert("\n")
        elif press.key == Keys.ControlH:
            self._delete(without_last_character(self.entries[-1]))
        elif press.key in (Keys.ControlU, Keys.ControlW):
            self._delete("" if press.key == Keys.ControlU else re.sub(r"\S*\s*$", "", self.entries[-1]))
        elif not isinstance(press.key, Keys) and press.data.isprintable():
            self._insert(press.data)

    def _insert(self, text: str) -> None:
        """Append to the draft, as a new entry if Enter was pressed before."""
        if self.queued:
            self.entries.append("")
        self.entries[-1] += text
        self.queued = self._leaving = False

    def _delete(self, left: str) -> None:
        """Leave so much of the last entry; where nothing is left of it, the one before it is the last again."""
        self.entries[-1], self.queued, self._leaving = left, False, False
        if not left and len(self.entries) > 1:
            self.entries.pop()
            self.queued = True


def _as_keys(text: str) -> str:
    """The keys that type a text; as a bracketed paste if some of it would act as a key of its own."""
    return text if text.isprintable() else f"{PASTE_BEGIN}{text}{PASTE_END}"


def without_last_character(text: str) -> str:
    """The text without its last grapheme, which may be several code points, such as an emoji sequence or a flag."""
    while text and (
        unicodedata.combining(text[-1]) or text[-1] in "\ufe0e\ufe0f\u200d" or "\U0001f3fb" <= text[-1] <= "\U0001f3ff"
    ):
        text = text[:-1]
    last, text = text[-1:], text[:-1]
    if text.endswith("\u200d"):
        return without_last_character(text)
    if "\U0001f1e6" <= last <= "\U0001f1ff" and "\U0001f1e6" <= text[-1:] <= "\U0001f1ff":
        return text[:-1]
    return text


def _tail(line: str, columns: int) -> str:
    """The end of a line that fits into `columns`, after its `> `."""
    if wcswidth(line) <= columns:
        return line
    tail = line[2:]
    while tail and wcswidth(tail) > max(columns - 3, 1):
        tail = tail[1:]
    return f"> …{tail}"[: max(columns, 1)] if columns < 4 else f"> …{tail}"


def is_supported(keyboard: int, screen: TextIO) -> bool:
    """Whether keys can be read while an answer is drawn: both are terminals, and this is not Windows."""
    return sys.platform != "win32" and os.isatty(keyboard) and screen.isatty()
