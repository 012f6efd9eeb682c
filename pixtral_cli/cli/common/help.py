"""`--help` in groups: each option is listed under the heading that its `rich_help_panel` names."""

from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

INPUT, OUTPUT, CONVERSATION, SAMPLING = "Input", "Output", "Conversation", "Sampling"
TOOLS, ENGINE, VLLM, OTHER = "Tools", "Model and engine", "vLLM", "Options"
MAX_SENTENCE = 1_000  # characters
HEADINGS = ("Arguments", INPUT, OUTPUT, CONVERSATION, SAMPLING, TOOLS, ENGINE, VLLM, OTHER)


class GroupedCommand(TyperCommand):
    """A command whose help lists its options under headings, in the order of `HEADINGS`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                groups.setdefault(_heading(parameter), []).append(record)
        for heading in HEADINGS:
            if records := groups.get(heading):
                with formatter.section(heading):
                    formatter.write_dl(records)


class CommandGroup(TyperGroup):
    """A group of commands whose help shows the first sentence about each whole."""

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The candidates; of a command the first sentence about it, whole."""
        candidates: list[Any] = super().shell_complete(ctx, incomplete)
        for each in candidates:
            command = self.get_command(ctx, each.value) if each.type == "plain" else None
            if command:
                each.help = command.get_short_help_str(MAX_SENTENCE)
        return candidates

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, each.get_short_help_str(MAX_SENTENCE)) for name, each in commands if each and not each.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def _heading(parameter: Any) -> str:
    if not isinstance(parameter, TyperOption):
        return "Arguments" if parameter.param_type_name == "argument" else OTHER
    return parameter.rich_help_panel or OTHER
