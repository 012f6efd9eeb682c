"""Streaming detokenizer: tokens to text in complete characters, up to a stop string."""

import codecs
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pixtral_cli.chat.engine import Chunk

if TYPE_CHECKING:
    from pixtral_cli.engines.local.generation.tool_calls import ToolCallParser


class Detokenizer:
    """Turns tokens into text as soon as it is final.

    `stopped`: the stop string that ended the text, which excludes it, or "".
    """

    def __init__(self, bytes_of: Callable[[int], bytes], stop: Sequence[str] = ()) -> None:
        self.stopped = ""
        self._bytes_of = bytes_of
        self._stop = tuple(text for text in stop if text)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""

    def feed(self, token: int) -> str:
        """The text that becomes final with this token, or "". A token without bytes ends an incomplete character."""
        data = self._bytes_of(token)
        return self._release(self._decoder.decode(data, final=not data))

    def close(self) -> str:
        """The text held back as the possible beginning of a stop string. An incomplete character is dropped."""
        held, self._held = self._held, ""
        return "" if self.stopped else held

    def _release(self, text: str) -> str:
        """The part of the text so far that cannot belong to a stop string; the rest is held back."""
        if self.stopped:
            return ""
        text = self._held + text
        matches = [(start, stop) for stop in self._stop if (start := text.find(stop)) >= 0]
        if matches:
            start, self.stopped = min(matches, key=lambda match: match[0])
            self._held = ""
            return text[:start]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


class AnswerDetokenizer:
    """Turns tokens into chunks: reasoning between the think tokens, tool calls after [TOOL_CALLS], text elsewhere.

    `calls`: parses the calls; None where the answer has no tools. `stopped`: the stop string that ended the text, or
    "".
    """

    def __init__(
        self,
        bytes_of: Callable[[int], bytes],
        stop: Sequence[str] = (),
        think_tokens: tuple[int, int] | None = None,
        calls: "ToolCallParser | None" = None,
    ) -> None:
        self.reasoning_tokens = 0
        self._text, self._reasoning = Detokenizer(bytes_of, stop), Detokenizer(bytes_of)
        self._think_tokens = think_tokens or (-1, -1)
        self._thinking = self._ended_thinking = False
        self._calls = calls
        self._calling = False

    @property
    def calling(self) -> bool:
        """Whether the last token was part of a tool call."""
        return self._calling

    @property
    def stopped(self) -> str:
        return self._text.stopped

    @property
    def thinking(self) -> bool:
        """Whether the last token was part of the reasoning."""
        return self._thinking or self._ended_thinking

    def feed(self, token: int) -> Chunk:
        """The chunk that becomes final with this token, possibly empty."""
        if self._calls and (self._calling or (token == self._calls.start_token and not self._thinking)):
            held = "" if self._calling else self._text.close()
            self._calling = True
            return Chunk(held, tool_calls=self._calls.feed(token))
        start, end = self._think_tokens
        begins, ends = token == start and not self._thinking, token == end and self._thinking
        self._thinking, self._ended_thinking = (self._thinking or begins) and not ends, ends
        self.reasoning_tokens += self.thinking
        if self.thinking:
            return Chunk(reasoning=self._reasoning.feed(token))
        return Chunk(self._text.feed(token))

    def close(self) -> str:
        """The text held back as the possible beginning of a stop string."""
        return self._text.close()


def _overlap(text: str, stop: str) -> int:
    """The length of the longest suffix of `text` that is a proper prefix of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
