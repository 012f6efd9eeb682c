"""`pixtral completion`: the script that teaches a shell to complete. What it completes, the command tree says at Tab."""

from enum import StrEnum
from typing import Annotated

import typer


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


def register() -> None:
    """Make Typer answer the shells' scripts. Our help holds no markup, and taking none out of it needs no Rich."""
    from typer import _completion_classes as classes

    classes.completion_init()
    classes._sanitize_help_text = lambda text: text


def script(shell: Shell) -> str:
    """The completion script of one shell."""
    from typer._completion_shared import get_completion_script  # what --show-completion prints

    return get_completion_script(prog_name="pixtral", complete_var="_PIXTRAL_COMPLETE", shell=shell.value)
