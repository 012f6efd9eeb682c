"""Tool calls in a chat: each is shown and, unless all are allowed, asked about."""

from pixtral_cli.chat.engine import Engine
from pixtral_cli.chat.toolbox.engine import ToolEngine, ToolRun
from pixtral_cli.chat.tools import ToolCall, call_in_words
from pixtral_cli.terminal.repl.state import State


def with_tools(state: State) -> Engine:
    """Who answers, with the tools of the chat."""
    if not state.tools:
        return state.backend

    def allow(call: ToolCall) -> bool:
        state.notes.say(f"Tool: {call_in_words(call)}")
        return state.yes_tools or state.confirm("Run it?")

    def ran(run: ToolRun) -> None:
        state.notes.say(f"→ {run.in_words()}")

    return ToolEngine(state.backend, state.tools, allow, ran)
