"""Shows the tool calls of `pixtral ask` on stderr and, unless all are allowed, asks before each is run."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TextIO

from pixtral_cli.chat.engine import Engine
from pixtral_cli.chat.toolbox.engine import RunnableTool, ToolEngine, ToolRun
from pixtral_cli.chat.tools import ToolCall, format_call
from pixtral_cli.errors import UsageError
from pixtral_cli.terminal.output.output import Output
from pixtral_cli.terminal.output.spinner import Spinner

QUESTION = "Run it? [y]es, [n]o, [a]ll: "


def with_tools(
    engine: Engine, tools: Sequence[RunnableTool], out: Output, stdin: TextIO | None, *, allowed: bool
) -> Engine:
    """The engine with these tools; the engine itself if there are none. `allowed`: calls are run without asking.

    Raises UsageError if the user must be asked and there is no terminal.
    """
    if not tools:
        return engine
    asker = None if allowed else _CallConfirmation(out, stdin if stdin is not None else sys.stdin)

    def allow(call: ToolCall) -> bool:
        with Spinner.hidden():
            return _show_and_ask(call, out, asker)

    def show_result(run: ToolRun) -> None:
        with Spinner.hidden():
            _show_result(run, out)

    return ToolEngine(engine, tools, allow, show_result)


def check_can_ask(out: Output, stdin: TextIO | None, *, allowed: bool) -> None:
    """Raises UsageError if calls are not `allowed` and there is no terminal to ask at."""
    if not allowed:
        _CallConfirmation(out, stdin if stdin is not None else sys.stdin)


def output_between_calls(out: Output) -> Output:
    """The output of an answer that calls tools: on a terminal it is shown whole, for calls are shown while it is made."""
    return replace(out, stream=out.stream and not out.stdout.isatty())


class _CallConfirmation:
    """Asks at the terminal whether a call may be run. Raises UsageError if there is none."""

    def __init__(self, out: Output, stdin: TextIO) -> None:
        if not (stdin.isatty() and out.stderr.isatty()):
            raise UsageError("Each call of a tool is asked about, and nobody can answer here", "Allow all: --yes-tools")
        self._out, self._stdin = out, stdin
        self._all = False

    def allow(self) -> bool:
        """Ask once; after the reply "all" always True."""
        if self._all:
            return True
        self._out.stderr.write(QUESTION)
        self._out.stderr.flush()
        reply = self._stdin.readline().strip().lower()[:1]
        self._all = reply == "a"
        return reply in ("y", "a")


def _show_and_ask(call: ToolCall, out: Output, confirmation: _CallConfirmation | None) -> bool:
    """Show a call; returns whether it may be run."""
    line = f"Tool: {format_call(call)}"
    if confirmation is None:
        out.note(line)
        return True
    out.tell(line)
    return confirmation.allow()


def _show_result(run: ToolRun, out: Output) -> None:
    (out.tell if run.error else out.note)(f"  → {run.summary()}")
