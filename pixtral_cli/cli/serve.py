"""`pixtral serve`, `ps`, `stop` and `login`: the processes that hold a model, and the API keys of other servers."""

from typing import Annotated

import typer

from pixtral_cli.cli.common import completers, options
from pixtral_cli.cli.common.flags import LocalEngineFlags, expand_flags


@expand_flags
def serve(
    *,
    model: options.Model = None,
    host: options.Host = "127.0.0.1",
    port: options.Port = 8000,
    api_key: options.ApiKey = None,
    allowed_host: options.AllowedHosts = None,
    no_image_urls: options.NoImageUrls = False,
    allow_private: options.AllowPrivate = False,
    formats: options.Formats = options.ImageFormats.common,
    queue: Annotated[int, typer.Option("--queue", metavar="N", min=0, max=1000, help="Requests that may wait.")] = 16,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            metavar="N",
            min=1,
            max=256,
            help="Answers computed at a time.  [default: 4; vLLM: 32 per replica]",
            show_default=False,
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    max_tokens: options.MaxTokens = None,
    engine: LocalEngineFlags,
) -> None:
    """Serve a model: OpenAI's API, and a page in the browser.

    Set the API key by PIXTRAL_API_KEY: other users can read command lines.
    """
    from dataclasses import replace

    from pixtral_cli import config
    from pixtral_cli.cli.common.engine_setup import require_server_extra

    require_server_extra("The server")
    from pixtral_cli.cli.jobs.serve import serve_model
    from pixtral_cli.server.serve import ServeOptions

    settings = engine.apply(replace(config.load(), base_url=None)).override(
        temperature=temperature, top_p=top_p, max_tokens=max_tokens
    )
    serve_options = ServeOptions(
        host, port, api_key, allowed_host or (), not no_image_urls, allow_private, concurrency or 0, queue,
        formats is options.ImageFormats.all,
    )  # fmt: skip
    serve_model(model, serve_options, settings, open_page=open_page)


def ps(format: options.ListFormatOption = options.ListFormat.text) -> None:
    """List the processes that hold a model."""
    from pixtral_cli.terminal.views import processes

    processes.list_processes(as_json=format is options.ListFormat.json)


def stop(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A model, by any name that -m takes.  [default: all]",
            show_default=False,
            autocompletion=completers.resident_models,
        ),
    ] = None,
    format: options.ListFormatOption = options.ListFormat.text,
) -> None:
    """End the processes that hold a model.

    They finish the answers that are being computed.
    """
    from pixtral_cli.terminal.views import processes

    processes.stop_processes(model, as_json=format is options.ListFormat.json)


def login(
    base_url: options.BaseURL = None,
    mcp: Annotated[
        str | None, typer.Option("--mcp", metavar="URL", help="The key is an MCP server's.", show_default=False)
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Forget the key.")] = False,
) -> None:
    """Store the API key of La Plateforme or another server.

    The key is asked for or read from stdin, tried, and stored in a file that only you can read.
    """
    from pixtral_cli.cli.jobs import login as job

    job.login(base_url, mcp, remove=remove)
