"""The tree of commands. Each command's body imports what does its work, so that --help loads nothing heavy."""

from typing import Annotated

import typer

from pixtral_cli import __version__
from pixtral_cli.cli import config, doctor, evaluate, mcp, models, serve, sessions, templates
from pixtral_cli.cli.ask import ask
from pixtral_cli.cli.batch import batch
from pixtral_cli.cli.chat import chat
from pixtral_cli.cli.common.help import CommandGroup, GroupedCommand
from pixtral_cli.cli.completion import completion
from pixtral_cli.cli.join import join

app = typer.Typer(
    name="pixtral",
    help="Talk with a vision model from the terminal.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    cls=CommandGroup,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"pixtral {__version__}")
        raise typer.Exit


@app.callback()
def pixtral(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Talk with a vision model from the terminal."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command(cls=GroupedCommand)(chat)
app.command(cls=GroupedCommand)(ask)
app.command(cls=GroupedCommand)(batch)
app.command(cls=GroupedCommand)(models.pull)
app.add_typer(models.app, name="models")
app.add_typer(sessions.app, name="sessions")
app.add_typer(templates.app, name="templates")
app.add_typer(config.app, name="config")
app.add_typer(evaluate.app, name="eval")
app.command(cls=GroupedCommand)(serve.serve)
app.command(cls=GroupedCommand)(mcp.mcp)
app.command(cls=GroupedCommand)(join)
app.command(cls=GroupedCommand)(serve.ps)
app.command(cls=GroupedCommand)(serve.stop)
app.command(cls=GroupedCommand)(serve.login)
app.command(cls=GroupedCommand)(doctor.doctor)
app.command(cls=GroupedCommand)(completion)
