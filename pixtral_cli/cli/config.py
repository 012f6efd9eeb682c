"""`pixtral config`: show, set and edit the settings."""

import shlex
from typing import Annotated

import typer

from pixtral_cli.cli.common import completers
from pixtral_cli.cli.common.help import CommandGroup
from pixtral_cli.cli.common.options import ListFormat, ListFormatOption, called_without_subcommand
from pixtral_cli.errors import UsageError

app = typer.Typer(
    help="Show and change settings.", invoke_without_command=True, rich_markup_mode=None, cls=CommandGroup
)

Key = Annotated[
    str,
    typer.Argument(help="A setting, or models.NAME.SETTING for one model.", autocompletion=completers.settings),
]
Value = Annotated[str | None, typer.Argument(help="Its new value.", autocompletion=completers.setting_values)]


@app.callback()
def show(context: typer.Context, format: ListFormatOption = ListFormat.text) -> None:
    """Show every setting: its value and where it comes from, or its default."""
    if not called_without_subcommand(context):
        return
    from pixtral_cli.config import config_file, overview

    rows = overview.setting_rows()
    if format is ListFormat.json:
        import json

        typer.echo(json.dumps({"file": str(config_file()), "settings": rows}, ensure_ascii=False))
        return
    typer.echo(f"# {config_file()}")
    for line in overview.describe():
        typer.echo(line)
    typer.echo("\n# Defaults:")
    for row in rows:
        if row["value"] is None:
            typer.echo(f"# {row['name']}: {row['default']}")


@app.command("path")
def path() -> None:
    """Print where the config file is."""
    from pixtral_cli.config import config_file

    typer.echo(config_file())


@app.command("get")
def get(key: Key, format: ListFormatOption = ListFormat.text) -> None:
    """Print one setting's value; nothing when it is a default."""
    from pixtral_cli.config import overview

    if format is ListFormat.json:
        import json

        typer.echo(json.dumps({"name": key, "value": overview.get_value(key)}, ensure_ascii=False))
    elif (value := overview.get(key)) is not None:
        typer.echo(value)


@app.command("set")
def set_(key: Key, value: Value = None) -> None:
    """Write a setting into the config file; everything else there stays as it is."""
    from pixtral_cli.config import editing

    if value is None:
        name, equals, given = key.partition("=")
        given = given.strip() if equals else "VALUE"
        raise UsageError(
            f"{name.strip()} needs a value", f"Write: pixtral config set {name.strip()} {shlex.quote(given)}"
        )
    _check_use(key, value)
    editing.set_value(key, value)


def _check_use(text: str, value: str) -> None:
    """Raises UsageError for a colour, key or alias that the terminal or the models could not use."""
    from pixtral_cli import config
    from pixtral_cli.config.keys import parse_key
    from pixtral_cli.config.settings import TEXT_TABLES, check_text_table

    key = parse_key(text)
    if key.table in TEXT_TABLES:
        check_text_table({key.name: value}, key.table, "config")
    if key.table == "theme":
        from pixtral_cli.terminal.preferences.theme import check_theme

        check_theme({key.name: value})
    elif key.table == "keys":
        from pixtral_cli.terminal.preferences.keys import chosen_keys

        chosen_keys({**(config.load().keys or {}), key.name: value})
    elif key.table == "aliases":
        from pixtral_cli.models import names

        names.check_alias(key.name)
        names.parse(value)


@app.command("unset")
def unset(key: Key) -> None:
    """Take a setting out of the config file."""
    from pixtral_cli.config import editing

    editing.set_value(key, None)


@app.command("edit")
def edit() -> None:
    """Open the config file in $VISUAL or $EDITOR."""
    from pixtral_cli import config
    from pixtral_cli.config import editing
    from pixtral_cli.terminal.desktop.editor import check_terminal, edit_file

    target = config.config_file()
    check_terminal(target)
    editing.create_if_missing(target)
    edit_file(target)
    config.load()
