"""Interfaces of other packages that are not public, each with the version it was read in. Check them when a pin moves."""

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h11


def run_exit_functions() -> None:
    """Run what was registered with `atexit` before `os._exit`. CPython 3.11, Modules/atexitmodule.c."""
    import atexit

    atexit._run_exitfuncs()


def register_shell_completion() -> None:
    """Make Typer answer its completion scripts, without loading Rich to take markup out of help. Typer 0.28.0."""
    from typer import _completion_classes

    _completion_classes.completion_init()
    _completion_classes._sanitize_help_text = lambda text: text


def completion_script(program: str, variable: str, shell: str) -> str:
    """The script that `--show-completion` prints. Typer 0.28.0."""
    from typer._completion_shared import get_completion_script

    return get_completion_script(prog_name=program, complete_var=variable, shell=shell)


def h11_connection(protocol: Any) -> "h11.Connection":
    """The state machine of a connection of uvicorn's `H11Protocol`. uvicorn 0.54.0."""
    connection: h11.Connection = protocol.conn
    return connection


def keep_alive_timer(protocol: Any) -> object | None:
    """The timer that closes an idle connection of uvicorn's `H11Protocol`; None when none runs. uvicorn 0.54.0."""
    timer: object | None = protocol.timeout_keep_alive_task
    return timer


def set_pillow_limits() -> None:
    """At most 8 MB of text in a PNG; no warnings about odd metadata. Module globals of Pillow 13.0.0."""
    from PIL import PngImagePlugin

    warnings.filterwarnings("ignore", module=r"PIL\.")
    PngImagePlugin.MAX_TEXT_MEMORY = 8_000_000
