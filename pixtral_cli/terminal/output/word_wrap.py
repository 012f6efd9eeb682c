"""Wraps text between words, so that a terminal does not break it inside one; whole, or while it streams."""

import os
import re
from typing import TextIO


class WordWrap:
    """Wraps lines at `columns`, replacing only blanks by line breaks."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._column = 0  # the width of the current line
        self._blank = ""  # the blanks before the pending word
        self._word = ""

    def feed(self, text: str) -> str:
        """Add text; returns the text that can be written: a word is held back until it is complete."""
        out = ""
        for piece in re.findall(r"\n|[^\S\n]+|\S+", text):
            if piece.isspace() and self._word:
                out += self._place_word()
            if piece == "\n":
                out += "\n"
                self._column, self._blank = 0, ""
            elif piece.isspace():
                self._blank += piece
            else:
                self._word += piece
        return out

    def close(self) -> str:
        """The last word, to be written at the end."""
        return self._place_word()

    def _place_word(self) -> str:
        """The pending word after its blank, or after a line break in place of the blank if it does not fit."""
        from wcwidth import wcswidth

        width = max(wcswidth(self._word), 0)
        breaks = bool(self._column) and self._column + len(self._blank) + width > self._columns
        blank = "\n" if breaks and self._blank else self._blank
        placed, self._column = blank + self._word, (width if breaks else self._column + len(blank) + width)
        self._blank = self._word = ""
        return placed


def wrap_words(text: str, columns: int) -> str:
    """The text with line breaks between words so that lines have at most `columns` columns; longer words are not broken."""
    from wcwidth import wcswidth

    lines: list[str] = []
    for word in text.split(" "):
        if lines and wcswidth(f"{lines[-1]} {word}") <= columns:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def wrapped_for(text: str, stream: TextIO) -> str:
    """The text as it is written to a stream: wrapped if that is a terminal, else unchanged."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (OSError, ValueError, AttributeError):
        columns = 0
    if columns <= 0 or len(text) <= columns // 2 or "\x1b" in text:  # no letter is wider than two columns
        return text
    return "\n".join(wrap_words(line, columns) for line in text.split("\n"))
