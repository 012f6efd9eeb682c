"""Shows the reasoning before an answer: dimmed while it arrives and then folded to one line, shown completely, or hidden."""

import time
from collections.abc import Callable

from pixtral_cli.terminal.output.notes import count_of
from pixtral_cli.terminal.output.output import ThinkingMode
from pixtral_cli.terminal.output.word_wrap import wrap_words

OPEN_MARK, CLOSE_MARK = "[THINK]\n", "\n[/THINK]\n\n"  # around reasoning in a pipe or a file: Mistral's control tokens
TAIL_LINES = 3  # lines of reasoning shown while it arrives, if it will be folded


def summary_line(text: str, seconds: float | None = None) -> str:
    """One line in place of the reasoning: its duration, if known, and its number of words."""
    duration = f" for {seconds:.0f} s" if seconds is not None and seconds >= 0.5 else ""
    return f"Thought{duration}, {count_of(len(text.split()), 'word')}"


def with_marks(text: str) -> str:
    """Reasoning between the marks; "" for blank reasoning."""
    return f"{OPEN_MARK}{text.strip()}{CLOSE_MARK}" if text.strip() else ""


class ThinkingBlock:
    """The lines of one run of reasoning, for a terminal that can redraw. Its text must be sanitised."""

    def __init__(self, mode: ThinkingMode, clock: Callable[[], float] = time.monotonic) -> None:
        self._mode = mode
        self._clock = clock
        self._began = clock()
        self._text = ""
        self._written = 0  # characters of complete lines that `lines` has returned

    def add(self, text: str) -> None:
        """Append reasoning."""
        self._text += text

    def lines(self, columns: int) -> list[str]:
        """The lines that cannot change any more, each returned once; none unless the mode is "show"."""
        end = self._text.rfind("\n") + 1
        if self._mode != "show" or end <= self._written:
            return []
        text, self._written = self._text[self._written : end - 1], end
        return _dim_lines(text, columns)

    def live(self, columns: int) -> list[str]:
        """The present lines below the finished ones."""
        if self._mode == "hide":
            return []
        if self._mode == "show":
            return _dim_lines(self._text[self._written :], columns) if self._text[self._written :] else []
        status = f"Thinking {self._clock() - self._began:.0f} s, {count_of(len(self._text.split()), 'word')}"
        return [_dim(status[: columns - 1]), *_dim_lines(self._text.strip(), columns, "  ")[-TAIL_LINES:]]

    def finish(self, columns: int) -> list[str]:
        """The lines that remain above the answer."""
        if self._mode == "hide" or not self._text.strip():
            return []
        if self._mode == "show":
            return [*self.live(columns), ""]
        return [_dim(summary_line(self._text, self._clock() - self._began)[: columns - 1]), ""]


class PlainThinking:
    """Reasoning in plain text: between marks, as one line before the answer, or left out."""

    def __init__(self, mode: ThinkingMode) -> None:
        self._mode = mode
        self._text = ""  # of the current run of reasoning
        self._just_ended = False  # a run has ended, and no text has followed

    def feed(self, reasoning: str, text: str) -> str:
        """The text to write for a piece of reasoning and a piece of the answer."""
        opened = OPEN_MARK if self._mode == "show" and reasoning and not self._text else ""
        self._text += reasoning
        text_out = f"{opened}{reasoning}" if self._mode == "show" else ""
        if not text.strip() and (self._text or self._just_ended):
            return text_out
        if self._text:
            text_out += self._end()
        if self._just_ended:
            self._just_ended, text = False, text.lstrip("\n")
        return text_out + text

    def close(self) -> str:
        """The text to write at the end of the answer, which may end within the reasoning."""
        return self._end().rstrip("\n") if self._text else ""

    def _end(self) -> str:
        thought, self._text, self._just_ended = self._text, "", True
        if self._mode == "show":
            return CLOSE_MARK
        return f"({summary_line(thought)})\n\n" if self._mode == "fold" and thought.strip() else ""


def _dim_lines(text: str, columns: int, indent: str = "") -> list[str]:
    width = max(columns - 1 - len(indent), 1)
    return [
        _dim(f"{indent}{piece}" if piece else "")
        for line in text.split("\n")
        for piece in _break_long_words(wrap_words(line.rstrip(), width).split("\n"), width)
    ]


def _break_long_words(lines: list[str], width: int) -> list[str]:
    """The lines with words wider than `width` broken, so that the terminal does not wrap them."""
    from wcwidth import wcswidth

    result: list[str] = []
    for line in lines:
        while wcswidth(line) > width:
            at = next(size for size in range(len(line), 0, -1) if wcswidth(line[:size]) <= width or size == 1)
            result.append(line[:at])
            line = line[at:]
        result.append(line)
    return result


def _dim(line: str) -> str:
    return f"\x1b[2m{line}\x1b[0m" if line else ""
