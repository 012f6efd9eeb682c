"""`pixtral mcp`: the vision model as tools for agents."""

from pathlib import Path
from typing import Annotated

import typer

from pixtral_cli.cli.common import options
from pixtral_cli.cli.common.flags import EngineFlags, expand_flags

KEEP_ALIVE = "10m"


@expand_flags
def mcp(
    *,
    model: options.Model = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root",
            metavar="FOLDER",
            show_default=False,
            help="Files outside this folder are not read.  [default: the current one]",
        ),
    ] = None,
    http: Annotated[bool, typer.Option("--http", help="Serve streamable HTTP; else stdin and stdout.")] = False,
    host: options.Host = "127.0.0.1",
    port: options.Port = 8001,
    api_key: options.ApiKey = None,
    allowed_host: options.AllowedHosts = None,
    no_image_urls: options.NoImageUrls = False,
    allow_private: options.AllowPrivate = False,
    temperature: options.Temperature = None,
    max_tokens: options.MaxTokens = None,
    keep_alive: options.KeepAlive = None,
    engine: EngineFlags,
) -> None:
    """Serve the model as tools for agents, over the Model Context Protocol.

    Tools: look, read_text, chart_to_table, compare and crop. The model is loaded at the first question, in a process that
    other commands use too and that ends after --keep-alive (10m) without a question.
    """  # fmt: skip
    from importlib.util import find_spec

    from pixtral_cli import config
    from pixtral_cli.cli.common import engine_setup
    from pixtral_cli.errors import UsageError

    if not find_spec("mcp"):
        from pixtral_cli.extras import install_command

        raise UsageError("pixtral mcp needs one more package", f"Get it: {install_command('mcp')}")
    folder = (root or Path()).expanduser()
    if not folder.is_dir():
        raise UsageError(f"--root {folder} is not a folder", "Name the folder that holds the pictures")
    settings = engine.apply(config.load(), keep_alive).override(temperature=temperature, max_tokens=max_tokens)
    if settings.keep_alive is None and not settings.base_url and settings.engine in (None, "local"):
        settings = settings.override(keep_alive=KEEP_ALIVE)
    engine_setup.check_keep_alive(settings)
    chosen, settings = engine_setup.choose_engine(model, settings)
    from pixtral_cli.server.mcp.pictures import PictureRules
    from pixtral_cli.server.mcp.serve import EngineSource, run_http, run_stdio
    from pixtral_cli.server.serve import ServeOptions
    from pixtral_cli.util import durations

    resident = bool(settings.keep_alive and durations.parse(settings.keep_alive, "--keep-alive"))
    sampling = engine_setup.sampling(settings, chosen.name)
    source = EngineSource(chosen.name, chosen.open, sampling, resident)
    rules = PictureRules(folder.resolve(), allow_private, not no_image_urls)
    if not http:
        run_stdio(source, rules)
        return
    listening = ServeOptions(host, port, api_key, allowed_host or ())
    run_http(source, rules, listening, lambda url: typer.echo(f"{chosen.name} answers agents at {url}", err=True))
