"""The streams that an answer is written to, and what the terminals behind them can show."""

import contextlib
import errno
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TextIO

from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.terminal.output.word_wrap import wrapped_for
from pixtral_cli.util.sanitize import clean, visible

Format = Literal["text", "json", "jsonl"]
ThinkingMode = Literal["show", "fold", "hide"]


@dataclass(frozen=True)
class Output:
    """Where and how answers are written; made by `choose_output`.

    `markdown`: Markdown is rendered while it streams, since stdout is a terminal that can redraw. `spinner`: stderr is
    one. `wrap`: text that is not rendered is wrapped between words if stdout is a terminal. `stream`: text is shown as it
    arrives, else when the answer is complete. `model` and `session` are fields of JSON objects. `doing` returns the
    engine's current step of loading, or "". `footer` returns lines to show below a rendered answer while it streams, for
    a number of columns; it is called repeatedly. `thinking`: how the reasoning before an answer is shown. `theme`: pairs
    of names and styles from the config.
    """

    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    format: Format = "text"
    markdown: bool = False
    wrap: bool = False
    spinner: bool = False
    stream: bool = True
    quiet: bool = False
    model: str = ""
    session: str = ""
    doing: Callable[[], str] = str
    footer: Callable[[int], list[str]] | None = None
    thinking: ThinkingMode = "hide"
    theme: tuple[tuple[str, str], ...] = ()

    def write(self, text: str) -> None:
        """Write text unchanged and flush. Raises BrokenPipeError for a closed pipe, PixtralError for other errors."""
        if text:
            with translate_write_errors(answer=bool(self.model)):
                self.stdout.write(text)
                self.stdout.flush()

    def note(self, text: str) -> None:
        """Write a line to stderr unless `quiet`. Control characters become visible."""
        if not self.quiet:
            self.tell(visible(text))

    def tell(self, text: str) -> None:
        """Write text to stderr even if `quiet`, wrapped between words on a terminal. It must be sanitised."""
        with contextlib.suppress(OSError):  # stderr may be closed
            print(wrapped_for(text, self.stderr), file=self.stderr, flush=True)


def choose_output(
    *,
    format: Format = "text",
    plain: bool = False,
    raw: bool = False,
    stream: bool = True,
    quiet: bool = False,
    model: str = "",
    thinking: bool | None = None,
    folding: str | None = None,
    theme: Mapping[str, str] | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
    env: Mapping[str, str] = os.environ,
) -> Output:
    """The output for the streams: a terminal that can redraw, a plain terminal, a pipe or a file.

    `raw`: Markdown is not rendered. `thinking`: reasoning is shown or hidden; None: on a terminal according to `folding`
    (show, hide or fold), elsewhere hidden. Raises UsageError for invalid styles in `theme`.
    """
    if theme:
        from pixtral_cli.terminal.preferences.theme import check_theme

        check_theme(theme)
    stdout, stderr = stdout or sys.stdout or _ClosedStdout(), stderr or sys.stderr or io.StringIO()
    for file in (stdout, stderr):
        if reconfigure := getattr(file, "reconfigure", None):
            reconfigure(errors="replace")
    on_terminal: ThinkingMode = "show" if folding == "show" else "hide" if folding == "hide" else "fold"
    if not stdout.isatty() or format != "text":
        on_terminal = "hide"
    drawing = not plain and supports_drawing(env)
    return Output(
        stdout,
        stderr,
        format,
        markdown=drawing and not raw and format == "text" and stdout.isatty(),
        spinner=drawing and not quiet and stderr.isatty(),
        stream=stream,
        quiet=quiet,
        model=model,
        thinking="show" if thinking else "hide" if thinking is False else on_terminal,
        theme=tuple((theme or {}).items()),
    )


class _ClosedStdout(io.StringIO):
    """Stands for a stdout that is closed: raises OSError when something is written."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "stdout is closed")


def supports_drawing(env: Mapping[str, str] = os.environ) -> bool:
    """Whether colours and redrawing may be used: not with NO_COLOR, TERM=dumb or without TERM."""
    term = env.get("TERM", "xterm" if os.name == "nt" else "")
    return not env.get("NO_COLOR") and term not in ("", "dumb", "unknown")


def window_size(stream: TextIO) -> os.terminal_size:
    """The present columns and rows of the window; 80 × 24 if they are unknown."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        size = shutil.get_terminal_size()
    return os.terminal_size((size.columns or 80, size.lines or 24))


@contextlib.contextmanager
def translate_write_errors(*, answer: bool) -> Iterator[None]:
    """Turns errors of writing into PixtralError, and those of a closed pipe into BrokenPipeError without an errno.

    `answer`: an answer is being written, for the hint.
    """
    try:
        yield
    except BrokenPipeError as error:  # without its number, on which Typer would exit with 1
        raise BrokenPipeError("the reader of the answer has closed the pipe") from error
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if answer:
            raise PixtralError(f"The answer cannot be written: {reason}", "Write it to a file: -o FILE") from error
        raise PixtralError(f"Cannot write to stdout: {reason}") from error


def confirm(question: str, out: Output, hint: str = "There is no terminal to ask at: use --yes") -> bool:
    """Ask a yes-or-no question at the terminal; returns whether the reply is yes. Raises UsageError without a terminal."""
    if not sys.stdin.isatty():
        raise UsageError(question, hint)
    try:
        print(f"{visible(question)} [y/N] ", end="", file=out.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except KeyboardInterrupt:
        out.tell("")
        raise


def dumps(value: Any, encoding: str | None = "utf-8") -> str:
    """The value as one line of JSON for a stream of this encoding, with control characters escaped."""
    if (encoding or "").lower().replace("-", "") != "utf8":
        return json.dumps(value)
    return _NON_ASCII.sub(_escaped_if_harmful, json.dumps(value, ensure_ascii=False))


_NON_ASCII = re.compile(r"[^\x20-\x7e]")


def _escaped_if_harmful(match: re.Match[str]) -> str:
    character = match[0]
    return character if clean(character) == character else json.dumps(character)[1:-1]
