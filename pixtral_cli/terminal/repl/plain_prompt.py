"""A prompt that draws nothing, for screen readers and dumb terminals, on readline."""

import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import TYPE_CHECKING, TextIO

from pixtral_cli.terminal.repl.history import InputHistory, InputLine
from pixtral_cli.terminal.repl.input_parser import has_open_block
from pixtral_cli.util.sanitize import clean, visible

if TYPE_CHECKING:
    from pixtral_cli.terminal.repl.completion import Suggestion


class PlainPrompt:
    """Reads lines, with readline if it is installed and `editing` is allowed."""

    def __init__(
        self,
        recall: InputHistory,
        suggest: "Callable[[str], Iterable[Suggestion]]" = lambda before: (),
        begun: Callable[[], None] = lambda: None,
        *,
        editing: bool = True,
        stdin: TextIO | None = None,
    ) -> None:
        self._recall = recall
        self._begun = begun
        self._stdin = stdin or sys.stdin
        self._library = _readline(recall, suggest) if editing else None

    def read(self, draft: str = "", *, placeholder: str = "", busy: bool = False) -> InputLine:
        """The next line; several if they are in triple quotes, or come at once and are thus a paste.

        Lines that were typed before the prompt are lines of their own. Raises EOFError, KeyboardInterrupt.
        """
        begun, self._begun = self._begun, lambda: None
        begun()
        if self._library:
            self._library.set_pre_input_hook(lambda: self._insert(draft))
        elif draft:
            print(f"It was: {visible(draft)}")
        typed_before = self._waiting()
        try:
            text = input("> ")
        except (EOFError, KeyboardInterrupt):
            print()  # what follows begins a line
            raise
        pasted = "\n" in text
        while has_open_block(text):
            text += "\n" + input(". ")
        with contextlib.suppress(EOFError):
            while not typed_before and self._waiting():
                text, pasted = f"{text}\n{input()}", True
        line = InputLine(text, (text,) if pasted else ())
        self._recall.add(line)
        return line

    def enter_line(self, text: str) -> InputLine:
        """See `Reader`."""
        begun, self._begun = self._begun, lambda: None
        begun()
        print(f"> {clean(text)}")
        if self._library:
            self._library.add_history(text)
        line = InputLine(text, (text,) if "\n" in text else ())
        self._recall.add(line)
        return line

    def held(self) -> AbstractContextManager[None]:
        """See `Reader`; the terminal itself keeps the keys."""
        return contextlib.nullcontext()

    def while_answering(self, doing: Callable[[], str]) -> AbstractContextManager[None]:
        """See `Reader`; nothing is shown below an answer."""
        return contextlib.nullcontext()

    def unread(self, typed: bytes) -> None:
        """See `Reader`; keys cannot be put back, and are dropped."""

    def typed_ahead(self) -> bool:
        """See `Reader`."""
        return self._waiting()

    def _insert(self, draft: str) -> None:
        assert self._library
        self._library.insert_text(draft)
        self._library.redisplay()
        self._library.set_pre_input_hook(None)

    def _waiting(self) -> bool:
        """Whether another line is available at once, which means that several were pasted."""
        return os.name == "posix" and bool(select.select([self._stdin], [], [], 0)[0])


def _readline(recall: InputHistory, suggest: "Callable[[str], Iterable[Suggestion]]") -> ModuleType | None:
    """The readline module with history and completion set up; None if there is none."""
    try:
        import readline
    except ImportError:
        return None
    for line in recall.lines:
        readline.add_history(line.text)
    found: list[str] = []

    def complete(text: str, number: int) -> str | None:
        """Candidate `number` for the last word, as readline calls it."""
        if number == 0:
            before = readline.get_line_buffer()[: readline.get_endidx()]
            offered = [text[: len(text) - each.length] + each.text for each in suggest(before)]
            found[:] = [each for each in offered if each.lower().startswith(text.lower())] or offered[:1]
        return found[number] if number < len(found) else None

    readline.set_completer_delims(" \t\n")
    readline.set_completer(complete)
    readline.parse_and_bind("tab: complete")
    return readline
