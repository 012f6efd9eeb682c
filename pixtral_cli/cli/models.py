"""`pixtral pull` and `pixtral models`: get models, list, show, check, remove and find them."""

from typing import Annotated

import typer

from pixtral_cli.cli.common import completers
from pixtral_cli.cli.common.help import CommandGroup
from pixtral_cli.cli.common.options import ListFormat, ListFormatOption, Offline, Quiet, called_without_subcommand

app = typer.Typer(
    help="List, show, check and remove models, and say where they are.",
    invoke_without_command=True,
    rich_markup_mode=None,
    cls=CommandGroup,
)


ModelName = Annotated[
    str | None,
    typer.Argument(
        help="A name, a repository or a folder.  [default: the model that runs]",
        autocompletion=completers.models,
        show_default=False,
    ),
]  # fmt: skip


KnownModelName = Annotated[
    str | None,
    typer.Argument(
        help="A name, a repository or a folder.  [default: the model that runs]",
        autocompletion=completers.models_to_show,
        show_default=False,
    ),
]


def pull(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A name that `pixtral models` lists, or a repository of the same family: org/name, org/name@revision.",
            autocompletion=completers.models_to_pull,
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    offline: Offline = False,
) -> None:
    """Download a model, or resume its download, and check every byte. Ctrl-C loses nothing."""
    from pixtral_cli import config
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import models

    models.pull_model(name, choose_output(quiet=quiet), stay_offline=offline or bool(config.load().offline))


@app.callback()
def models(context: typer.Context, format: ListFormatOption = ListFormat.text) -> None:
    """List the models on this machine; a star marks the one that runs by default."""
    if called_without_subcommand(context):
        list_(format)


@app.command("list")
def list_(format: ListFormatOption = ListFormat.text) -> None:
    """List the models on this machine; a star marks the one that runs by default."""
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import models

    models.list_models(choose_output(), as_json=format is ListFormat.json)


@app.command()
def show(name: KnownModelName = None, format: ListFormatOption = ListFormat.text) -> None:
    """Show what a model is, what it takes and its vendor's system prompt."""
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import model_details

    model_details.show_model(name, choose_output(), as_json=format is ListFormat.json)


@app.command()
def verify(name: ModelName = None, quiet: Quiet = False, format: ListFormatOption = ListFormat.text) -> None:
    """Compare every byte of a model with its recorded hash."""
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import models

    models.verify_model(name, choose_output(quiet=quiet), as_json=format is ListFormat.json)


@app.command("rm")
def remove(
    name: Annotated[
        str,
        typer.Argument(
            help="A name, a repository (perhaps with @revision) or a folder.", autocompletion=completers.models
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    quiet: Quiet = False,
) -> None:
    """Remove a model from this machine. Asks first."""
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import models

    models.remove_model(name, choose_output(quiet=quiet), sure=yes)


@app.command()
def path(name: ModelName = None) -> None:
    """Print the folder of a model."""
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.views import models

    models.show_path(name, choose_output())
