"""`pixtral templates`: list, show and edit the named templates."""

from typing import Annotated

import typer

from pixtral_cli.cli.common import completers
from pixtral_cli.cli.common.help import CommandGroup
from pixtral_cli.cli.common.options import ListFormat, ListFormatOption, called_without_subcommand

app = typer.Typer(
    help="List, show, edit and remove named templates.",
    invoke_without_command=True,
    rich_markup_mode=None,
    cls=CommandGroup,
)

Name = Annotated[
    str, typer.Argument(help="A template's name.", autocompletion=completers.templates, show_default=False)
]
Names = Annotated[
    list[str], typer.Argument(help="Templates' names.", autocompletion=completers.templates, show_default=False)
]


@app.callback()
def templates(context: typer.Context, format: ListFormatOption = ListFormat.text) -> None:
    """List the templates."""
    if called_without_subcommand(context):
        list_(format)


@app.command("list")
def list_(format: ListFormatOption = ListFormat.text) -> None:
    """List the templates."""
    from pixtral_cli.terminal.views import templates

    templates.list_templates(as_json=format is ListFormat.json)


@app.command("rm")
def remove(names: Names, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Remove templates. Asks first."""
    from pixtral_cli.terminal.views import templates

    templates.remove_templates(names, sure=yes)


@app.command()
def show(name: Name, format: ListFormatOption = ListFormat.text) -> None:
    """Print a template's file."""
    from pixtral_cli.terminal.views import templates

    templates.show_template(name, as_json=format is ListFormat.json)


@app.command()
def edit(name: Name) -> None:
    """Write or change a template in $VISUAL or $EDITOR."""
    from pixtral_cli.terminal.views import templates

    templates.edit_template(name)


@app.command()
def path() -> None:
    """Print the folder of the templates."""
    from pixtral_cli.terminal.views import templates

    templates.show_path()
