"""`pixtral completion`: prints a shell's completion script, which asks the command tree for candidates at every Tab."""

from enum import StrEnum
from typing import Annotated

import typer

from pixtral_cli import compat


class Shell(StrEnum):
    bash = "bash"
    zsh = "zsh"
    fish = "fish"
    powershell = "powershell"


def completion(shell: Annotated[Shell, typer.Argument(metavar="shell", help="bash, zsh, fish or powershell.")]) -> None:
    """Print a shell's completion script.

    For example: pixtral completion bash >> ~/.bashrc
    """
    typer.echo(script(shell))


def script(shell: Shell) -> str:
    """The completion script of one shell."""
    return compat.completion_script("pixtral", "_PIXTRAL_COMPLETE", shell.value)
