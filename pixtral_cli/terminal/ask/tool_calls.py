"""Tool calls on the terminal: each is shown on stderr and, unless it is allowed already, asked about."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TextIO

from pixtral_cli.chat.engine import Engine
from pixtral_cli.chat.toolbox.engine import RunnableTool, ToolEngine, ToolRun
from pixtral_cli.chat.tools import ToolCall, call_in_words
from pixtral_cli.errors import UsageError
from pixtral_cli.terminal.output.output import Output
from pixtral_cli.terminal.output.spinner import Spinner

QUESTION = "Run it? [y]es, [n]o, [a]ll: "


def with_tools(
    engine: Engine, tools: Sequence[RunnableTool], out: Output, stdin: TextIO | None, *, allowed: bool
) -> Engine:
    """The engine with these tools; itself without any. Raises UsageError where nobody can be asked.

    `allowed`: every call may be run.
    """
    if not tools:
        return engine
    asker = None if allowed else _Asker(out, stdin if stdin is not None else sys.stdin)

    def allow(call: ToolCall) -> bool:
        with Spinner.hidden():
            return _shown_and_allowed(call, out, asker)

    def show_result(run: ToolRun) -> None:
        with Spinner.hidden():
            _show_result(run, out)

    return ToolEngine(engine, tools, allow, show_result)


def check_answerable(out: Output, stdin: TextIO | None, *, allowed: bool) -> None:
    """Raises UsageError where each call of a tool is to be asked about and nobody is there to answer."""
    if not allowed:
        _Asker(out, stdin if stdin is not None else sys.stdin)


def in_rounds(out: Output) -> Output:
    """The output of an answer that calls tools: on a terminal it is shown whole, for calls are shown while it is made."""
    return replace(out, stream=out.stream and not out.stdout.isatty())


class _Asker:
    """Asks whether a call may be run, on a terminal."""

    def __init__(self, out: Output, stdin: TextIO) -> None:
        if not (stdin.isatty() and out.stderr.isatty()):
            raise UsageError("Each call of a tool is asked about, and nobody can answer here", "Allow all: --yes-tools")
        self._out, self._stdin = out, stdin
        self._all = False

    def allow(self) -> bool:
        if self._all:
            return True
        self._out.stderr.write(QUESTION)
        self._out.stderr.flush()
        reply = self._stdin.readline().strip().lower()[:1]
        self._all = reply == "a"
        return reply in ("y", "a")


def _shown_and_allowed(call: ToolCall, out: Output, asker: _Asker | None) -> bool:
    line = f"Tool: {call_in_words(call)}"
    if asker is None:
        out.note(line)
        return True
    out.tell(line)
    return asker.allow()


def _show_result(run: ToolRun, out: Output) -> None:
    (out.tell if run.error else out.note)(f"  → {run.in_words()}")
