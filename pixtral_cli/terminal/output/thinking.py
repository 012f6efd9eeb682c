"""How the thinking of a reasoning model looks: dimmed while it comes, folded to one line before the answer, shown whole or hidden."""

import time
from collections.abc import Callable

from pixtral_cli.terminal.output.notes import count_of, wrap_words
from pixtral_cli.terminal.output.output import ThinkingMode

OPEN, CLOSE = "[THINK]\n", "\n[/THINK]\n\n"  # around thinking in a pipe or a file: the marks of the models themselves
TAIL = 3  # lines of thinking shown while it comes, where it will be folded


def folded(text: str, seconds: float | None = None) -> str:
    """One line in place of the thinking: how long it took, if that is known, and how many words it has."""
    lasted = f" for {seconds:.0f} s" if seconds is not None and seconds >= 0.5 else ""
    return f"Thought{lasted}, {count_of(len(text.split()), 'word')}"


def marked(text: str) -> str:
    """Thinking between its marks; nothing where there is none."""
    return f"{OPEN}{text.strip()}{CLOSE}" if text.strip() else ""


class ThinkingBlock:
    """One run of thinking on a terminal that draws, as lines. Its text must be sanitised."""

    def __init__(self, mode: ThinkingMode, clock: Callable[[], float] = time.monotonic) -> None:
        self._mode = mode
        self._clock = clock
        self._began = clock()
        self._text = ""
        self._shown = 0  # characters of complete lines that `lines` has given already

    def add(self, text: str) -> None:
        self._text += text

    def lines(self, columns: int) -> list[str]:
        """Those that cannot change any more, each once; none unless all is shown."""
        end = self._text.rfind("\n") + 1
        if self._mode != "show" or end <= self._shown:
            return []
        text, self._shown = self._text[self._shown : end - 1], end
        return _dimmed(text, columns)

    def live(self, columns: int) -> list[str]:
        """The lines that stand below for now."""
        if self._mode == "hide":
            return []
        if self._mode == "show":
            return _dimmed(self._text[self._shown :], columns) if self._text[self._shown :] else []
        status = f"Thinking {self._clock() - self._began:.0f} s, {count_of(len(self._text.split()), 'word')}"
        return [_dim(status[: columns - 1]), *_dimmed(self._text.strip(), columns, "  ")[-TAIL:]]

    def finish(self, columns: int) -> list[str]:
        """What remains of it above the answer."""
        if self._mode == "hide" or not self._text.strip():
            return []
        if self._mode == "show":
            return [*self.live(columns), ""]
        return [_dim(folded(self._text, self._clock() - self._began)[: columns - 1]), ""]


class PlainThinking:
    """Thinking where nothing is drawn: between its marks, as a line before the answer, or left out."""

    def __init__(self, mode: ThinkingMode) -> None:
        self._mode = mode
        self._text = ""  # of the run that goes on
        self._after = False  # a run has just ended, and no text has come

    def feed(self, reasoning: str, text: str) -> str:
        """What is to be written now."""
        opened = OPEN if self._mode == "show" and reasoning and not self._text else ""
        self._text += reasoning
        text_out = f"{opened}{reasoning}" if self._mode == "show" else ""
        if not text.strip() and (self._text or self._after):
            return text_out
        if self._text:
            text_out += self._end()
        if self._after:
            self._after, text = False, text.lstrip("\n")
        return text_out + text

    def close(self) -> str:
        """What is to be written when the answer has ended: it may have ended while the model thought."""
        return self._end().rstrip("\n") if self._text else ""

    def _end(self) -> str:
        thought, self._text, self._after = self._text, "", True
        if self._mode == "show":
            return CLOSE
        return f"({folded(thought)})\n\n" if self._mode == "fold" and thought.strip() else ""


def _dimmed(text: str, columns: int, indent: str = "") -> list[str]:
    width = max(columns - 1 - len(indent), 1)
    return [
        _dim(f"{indent}{piece}" if piece else "")
        for line in text.split("\n")
        for piece in _broken(wrap_words(line.rstrip(), width).split("\n"), width)
    ]


def _broken(lines: list[str], width: int) -> list[str]:
    """Words that are wider than the window are cut: a line must not wrap by itself."""
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
