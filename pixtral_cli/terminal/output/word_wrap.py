"""Wraps text between words while it streams to a terminal."""

import re


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
