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
from pixtral_cli.util.sanitize import clean, visible

Format = Literal["text", "json", "jsonl"]
ThinkingMode = Literal["show", "fold", "hide"]


@dataclass(frozen=True)
class Output:
    """The output of answers; `choose_output` chooses it.

    `markdown`: stdout is a terminal that draws, so Markdown is rendered as it streams. `spinner`: stderr is one.
    `wrap`: where it is not rendered it is broken between words, if stdout is a terminal.
    `stream`: text is shown as it comes; else all at its end. `model`, `session`: the names that JSON objects carry. `doing`: what
    whoever answers does before it can, if it tells. `footer`: lines to stand below an answer that is drawn while it streams, for
    a number of columns; they are asked for again and again. `thinking`: what becomes of what is thought before an answer.
    `theme`: the names and styles of the config's table.
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
        """Write text as it is, at once. Raises BrokenPipeError for a closed pipe, PixtralError for any other failure."""
        if text:
            with translate_write_errors(answer=bool(self.model)):
                self.stdout.write(text)
                self.stdout.flush()

    def note(self, text: str) -> None:
        """One line on stderr, unless quiet. Untrusted characters are shown escaped."""
        if not self.quiet:
            self.tell(visible(text))

    def tell(self, text: str) -> None:
        """Text on stderr, quiet or not; it must be harmless."""
        with contextlib.suppress(OSError):  # stderr may be closed
            print(text, file=self.stderr, flush=True)


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
    """The output that fits who is listening: a terminal that draws, a plain one, a pipe or a file.

    `raw`: answers are not rendered there either. `thinking`: it is shown, or not; None: on a terminal as
    `folding` says (show, hide, or folded to a line), and not elsewhere. Raises UsageError for a `theme` of no styles.
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
    """A stdout that was closed before we began: an error when something is written, and not before."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "stdout is closed")


def supports_drawing(env: Mapping[str, str] = os.environ) -> bool:
    """False where colours and redrawing are unwanted or unknown: NO_COLOR, TERM=dumb, no TERM at all."""
    term = env.get("TERM", "xterm" if os.name == "nt" else "")
    return not env.get("NO_COLOR") and term not in ("", "dumb", "unknown")


def window_size(stream: TextIO) -> os.terminal_size:
    """The window's columns and rows now; 80 by 24 where it doesn't say."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        size = shutil.get_terminal_size()
    return os.terminal_size((size.columns or 80, size.lines or 24))


@contextlib.contextmanager
def translate_write_errors(*, answer: bool) -> Iterator[None]:
    """Raises PixtralError where output cannot be written (a full disk), and BrokenPipeError for a closed pipe."""
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
    """Ask a question at the terminal; whether the answer is yes. Raises UsageError with the hint without a terminal."""
    if not sys.stdin.isatty():
        raise UsageError(question, hint)
    try:
        print(f"{visible(question)} [y/N] ", end="", file=out.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except KeyboardInterrupt:
        out.tell("")
        raise


def dumps(value: Any, encoding: str | None = "utf-8") -> str:
    """One line of JSON that means exactly `value` and is harmless on a terminal: what could act there is escaped."""
    if (encoding or "").lower().replace("-", "") != "utf8":
        return json.dumps(value)
    return _NON_ASCII.sub(_escaped_if_harmful, json.dumps(value, ensure_ascii=False))


_NON_ASCII = re.compile(r"[^\x20-\x7e]")


def _escaped_if_harmful(match: re.Match[str]) -> str:
    character = match[0]
    return character if clean(character) == character else json.dumps(character)[1:-1]
