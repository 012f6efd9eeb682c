"""`pixtral join`: this machine takes part in a model that another one serves over several."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixtral_cli.cli.common import options

if TYPE_CHECKING:
    from pixtral_cli.engines.vllm.cluster.joining import FirstMachine
    from pixtral_cli.models.names import Model
    from pixtral_cli.terminal.output.output import Output


def join(
    address: Annotated[
        str, typer.Argument(metavar="HOST:PORT", help="The first machine, as `pixtral serve --nodes N` has printed it.")
    ],
    rank: Annotated[int, typer.Option("--rank", min=1, max=999, metavar="N", help="This machine's number, from 1.")],
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            metavar="TOKEN",
            envvar="PIXTRAL_JOIN_TOKEN",
            help="What the first machine printed.",
            show_default=False,
        ),
    ] = None,
    model: options.Model = None,
    wait: Annotated[str, typer.Option("--wait", metavar="DURATION", help="Try so long to reach it.")] = "60s",
    quiet: options.Quiet = False,
) -> None:
    """Join the machine that runs `pixtral serve --engine vllm --nodes N`.

    Checks that checkpoint and versions are the same here, starts vLLM's part, watches it, and ends with the first machine.

    PIXTRAL_JOIN_TOKEN in place of --token keeps it out of the list of processes.
    """
    import sys
    from contextlib import closing

    from pixtral_cli import config
    from pixtral_cli.engines.vllm.cluster.joining import FirstMachine, JoinAgain
    from pixtral_cli.engines.vllm.cluster.network import parse_address
    from pixtral_cli.errors import UsageError
    from pixtral_cli.terminal.output.output import choose_output
    from pixtral_cli.terminal.output.progress_line import ProgressLine
    from pixtral_cli.util import durations

    if not token:
        raise UsageError("A machine joins with the first one's token", "Give it: --token, or PIXTRAL_JOIN_TOKEN")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError("The token holds something that cannot be one", "Copy it again")
    seconds = durations.parse(wait, "--wait")
    out = choose_output(quiet=quiet)
    line = ProgressLine(sys.stderr, quiet=quiet, plain=bool(config.load().plain))

    def note(text: str) -> None:
        line.clear()
        out.note(text)

    host, port = parse_address(address)
    with closing(FirstMachine(host, port, token)) as first:
        try:
            while True:
                try:
                    _take_part(first, rank, model, seconds, note, line.show, out)
                except JoinAgain:
                    note("The first machine has begun anew: joining again")
                    continue
                break
        finally:
            line.clear()
    note("The first machine has ended, and this one with it")


def _take_part(
    first: "FirstMachine", rank: int, model: str | None, seconds: float, note: Callable[[str], None],
    progress: Callable[[str], None], out: "Output",
) -> None:  # fmt: skip
    """Join and run until the first machine ends. Raises JoinAgain when it was started anew."""
    from contextlib import closing
    from pathlib import Path

    from pixtral_cli import config
    from pixtral_cli.cli.common.engine_setup import VLLM, vllm_launch
    from pixtral_cli.engines import resident
    from pixtral_cli.engines.vllm.cluster.joining import JoinedMachine, wait_for_first
    from pixtral_cli.engines.vllm.cluster.machine import describe
    from pixtral_cli.engines.vllm.cluster.node import Node
    from pixtral_cli.engines.vllm.command import find_executable

    about = wait_for_first(first, seconds, note)
    found = _find_model(model, about, out)
    launch = vllm_launch(config.load().override(engine=VLLM))
    assert launch
    machine = describe(found.folder, find_executable(launch.executable), Path(launch.cache), progress)
    with closing(JoinedMachine(first, rank, machine, note)) as here:
        here.join()
        sockets = resident.socket_folder(Path(launch.state))
        here.run(Node(found.folder, about["name"], int(about["window"]), launch, here.machine, sockets), progress)


def _find_model(asked: str | None, about: dict[str, Any], out: "Output") -> "Model":
    """The first machine's model on this one: the named one, else the same repository's, fetched if need be, else its folder."""
    from pixtral_cli import config
    from pixtral_cli.errors import ModelError
    from pixtral_cli.models import names
    from pixtral_cli.terminal.views import models

    settings = config.load()
    aliases = settings.aliases or {}
    if asked:
        return names.find(names.parse(asked, aliases))
    if about["name"] == names.DEMO:
        return names.find(names.parse(names.DEMO))
    name = f"{about['repo']}@{about['revision']}" if about["repo"] else str(about["name"])
    is_folder = name.startswith(("/", "./", "../", "~")) or names.parse(name).repo is None
    try:
        return names.find(names.parse(str(about["folder"]) if is_folder else name))
    except ModelError as error:
        if is_folder:
            raise ModelError(f"{error.message}, as on the first machine", "Name it here: -m MODEL") from error
        if settings.offline:
            raise
    models.pull_model(name, out)
    return names.find(names.parse(name))
