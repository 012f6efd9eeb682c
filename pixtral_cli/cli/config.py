"""`pixtral config`: see, set and edit the settings. What a setting means, the module `config` knows."""

from typing import Annotated

import typer

app = typer.Typer(help="Show and change settings.", invoke_without_command=True, rich_markup_mode=None)

Key = Annotated[str, typer.Argument(help="A setting, or models.NAME.SETTING for one model.")]


@app.callback()
def show(context: typer.Context) -> None:
    """Show every setting that is not a default, and where it comes from."""
    if context.invoked_subcommand is not None:
        return
    from pixtral_cli import config

    typer.echo(f"# {config.config_file()}")
    for line in config.describe():
        typer.echo(line)


@app.command("path")
def path() -> None:
    """Print where the config file is."""
    from pixtral_cli import config

    typer.echo(config.config_file())


@app.command("get")
def get(key: Key) -> None:
    """Print one setting's value; nothing when it is a default."""
    from pixtral_cli import config

    value = config.get(key)
    if value is not None:
        typer.echo(value)


@app.command("set")
def set_(key: Key, value: Annotated[str, typer.Argument(help="Its new value.")]) -> None:
    """Write a setting into the config file; everything else there stays as it is."""
    from pixtral_cli import config

    config.set_value(key, value)


@app.command("unset")
def unset(key: Key) -> None:
    """Take a setting out of the config file."""
    from pixtral_cli import config

    config.set_value(key, None)


@app.command("edit")
def edit() -> None:
    """Open the config file in $VISUAL or $EDITOR."""
    from pixtral_cli import config
    from pixtral_cli.terminal.desktop.editor import edit_file

    target = config.config_file()
    config.create_if_missing(target)
    edit_file(target)
    config.load()
