"""`pixtral doctor`: checks of this machine. The checks are in `pixtral_cli.doctor`."""

from typing import Annotated

import typer

from pixtral_cli.cli.common.options import ListFormat, ListFormatOption


def doctor(
    online: Annotated[
        bool, typer.Option("--online", help="Also ask the hub whether the full model can be had.")
    ] = False,
    format: ListFormatOption = ListFormat.text,
) -> None:
    """Check what this machine has, and say what to do.

    Python, libraries, devices and memory, models, terminal. Exit status 1 when something fails.
    """
    from pixtral_cli import doctor

    if status := doctor.show(doctor.examine(online=online), as_json=format is ListFormat.json):
        raise typer.Exit(status)
