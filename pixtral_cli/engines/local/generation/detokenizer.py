"""Tokens to text as it grows: whole characters only, up to a stop string. Knows bytes, not the vocabulary."""

import codecs
from collections.abc import Callable, Sequence


class Detokenizer:
    """Feeds on tokens and gives the text that is certain. `stopped` once a stop string has appeared; it is not given."""

    def __init__(self, bytes_of: Callable[[int], bytes], stop: Sequence[str] = ()) -> None:
        self.stopped = False
        self._bytes_of = bytes_of
        self._stop = tuple(text for text in stop if text)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""

    def feed(self, token: int) -> str:
        """The text that this token makes certain, perhaps none. A token without bytes ends a character."""
        data = self._bytes_of(token)
        return self._release(self._decoder.decode(data, final=not data))

    def close(self) -> str:
        """What was held back in case a stop string would come. An unfinished character is left out."""
        held, self._held = self._held, ""
        return "" if self.stopped else held

    def _release(self, text: str) -> str:
        if self.stopped:
            return ""
        text = self._held + text
        found = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that begins `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
