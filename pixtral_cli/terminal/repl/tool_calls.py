"""Shows the tool calls of a chat and, unless all are allowed, asks before each is run."""

from pixtral_cli.chat.engine import Engine
from pixtral_cli.chat.toolbox.engine import ToolEngine, ToolRun
from pixtral_cli.chat.tools import ToolCall, format_call
from pixtral_cli.terminal.repl.state import State


def with_tools(state: State) -> Engine:
    """The engine of the chat with its tools; the backend itself without any."""
    if not state.tools:
        return state.backend

    def allow(call: ToolCall) -> bool:
        state.notes.say(f"Tool: {format_call(call)}")
        return state.yes_tools or state.confirm("Run it?")

    def show_result(run: ToolRun) -> None:
        state.notes.say(f"→ {run.summary()}")

    return ToolEngine(state.backend, state.tools, allow, show_result)
