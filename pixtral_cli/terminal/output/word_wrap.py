"""Breaks text between words while it streams to a terminal, which would break it anywhere. Changes blanks alone."""

import re


class WordWrap:
    """Feeds on pieces of text and returns what can be written; a word waits until it is whole."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._used = 0  # columns of the line that is being written
        self._blank = ""  # what separates the waiting word from it
        self._word = ""

    def feed(self, text: str) -> str:
        out = ""
        for piece in re.findall(r"\n|[^\S\n]+|\S+", text):
            if piece.isspace() and self._word:
                out += self._placed()
            if piece == "\n":
                out += "\n"
                self._used, self._blank = 0, ""
            elif piece.isspace():
                self._blank += piece
            else:
                self._word += piece
        return out

    def close(self) -> str:
        """The last word."""
        return self._placed()

    def _placed(self) -> str:
        """The waiting word behind its blank, or on a line of its own if the blank can be one's end."""
        from wcwidth import wcswidth

        width = max(wcswidth(self._word), 0)
        breaks = bool(self._used) and self._used + len(self._blank) + width > self._columns
        blank = "\n" if breaks and self._blank else self._blank
        placed, self._used = blank + self._word, (width if breaks else self._used + len(blank) + width)
        self._blank = self._word = ""
        return placed
