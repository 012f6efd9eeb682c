"""`pixtral join`: runs this machine's part of a model that `pixtral serve --nodes N` serves on several machines."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pixtral_cli.cli.common import options

if TYPE_CHECKING:
    from pixtral_cli.engines.vllm.cluster.joining import CoordinatorClient
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
    wait: Annotated[str, typer.Option("--wait", metavar="DURATION", help="How long to try to reach it.")] = "60s",
    quiet: options.Quiet = False,
) -> None:
    """Join the machine that runs `pixtral serve --engine vllm --nodes N`.

    Checks that checkpoint and versions are the same, runs this machine's part of vLLM, and ends with the first machine.

    PIXTRAL_JOIN_TOKEN in place of --token keeps the token out of the list of processes.
    """
    import sys
    from contextlib import closing

    from pixtral_cli import config
    from pixtral_cli.engines.vllm.cluster.joining import CoordinatorClient, RejoinRequired
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
    with closing(CoordinatorClient(host, port, token)) as coordinator:
        try:
            while True:
                try:
                    _join_and_run(coordinator, rank, model, seconds, note, line.show, out)
                except RejoinRequired:
                    note("The first machine has begun anew: joining again")
                    continue
                break
        finally:
            line.clear()
    note("The first machine has ended, and this one with it")


def _join_and_run(
    coordinator: "CoordinatorClient", rank: int, model: str | None, seconds: float, note: Callable[[str], None],
    progress: Callable[[str], None], out: "Output",
) -> None:  # fmt: skip
    """Join and run until the first machine ends. Raises RejoinRequired when the first machine was restarted.

    `seconds`: how long to try to reach it; `note` and `progress` are called with lines to show.
    """
    from contextlib import closing
    from pathlib import Path

    from pixtral_cli import config
    from pixtral_cli.cli.common.engine_setup import VLLM, vllm_launch
    from pixtral_cli.engines import resident
    from pixtral_cli.engines.vllm.cluster.joining import JoinedMachine, wait_for_coordinator
    from pixtral_cli.engines.vllm.cluster.machine import describe
    from pixtral_cli.engines.vllm.cluster.node import Node
    from pixtral_cli.engines.vllm.command import find_executable

    about = wait_for_coordinator(coordinator, seconds, note)
    local_model = _find_model(model, about, out)
    launch = vllm_launch(config.load().override(engine=VLLM))
    assert launch
    machine = describe(local_model.folder, find_executable(launch.executable), Path(launch.cache), progress)
    with closing(JoinedMachine(coordinator, rank, machine, note)) as joined:
        joined.join()
        sockets = resident.socket_folder(Path(launch.state))
        joined.run(
            Node(local_model.folder, about["name"], int(about["window"]), launch, joined.machine, sockets), progress
        )


def _find_model(name: str | None, about: dict[str, Any], out: "Output") -> "Model":
    """The first machine's model here: that of `name`, else the same repository (downloaded if missing) or folder.

    `about`: what the first machine serves. Raises ModelError.
    """
    from pixtral_cli import config
    from pixtral_cli.errors import ModelError
    from pixtral_cli.models import names
    from pixtral_cli.terminal.views import models

    settings = config.load()
    aliases = settings.aliases or {}
    if name:
        return names.find(names.parse(name, aliases))
    if about["name"] == names.DEMO:
        return names.find(names.parse(names.DEMO))
    served = f"{about['repo']}@{about['revision']}" if about["repo"] else str(about["name"])
    is_folder = served.startswith(("/", "./", "../", "~")) or names.parse(served).repo is None
    try:
        return names.find(names.parse(str(about["folder"]) if is_folder else served))
    except ModelError as error:
        if is_folder:
            raise ModelError(f"{error.message}, as on the first machine", "Name it here: -m MODEL") from error
        if settings.offline:
            raise
    models.pull_model(served, out)
    return names.find(names.parse(served))
