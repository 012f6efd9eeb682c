"""Stores the key of a server, which is tried first."""

import sys
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from urllib.parse import urlsplit

import typer

from pixtral_cli import config
from pixtral_cli.engines.remote import keys
from pixtral_cli.engines.remote.client import ApiClient
from pixtral_cli.engines.remote.engine import LA_PLATEFORME
from pixtral_cli.engines.remote.errors import Refused, parse_endpoint
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.extras import install_command


def login(base_url: str | None, mcp: str | None, *, remove: bool) -> None:
    """Ask for the key of a server and store it, or forget it. Raises UsageError, PixtralError for a key that is refused."""
    if mcp is not None and base_url:
        raise UsageError("--mcp is one server, --base-url another", "Use one of them")
    url = parse_endpoint(base_url or LA_PLATEFORME).base_url if mcp is None else _mcp_url(mcp)
    host = urlsplit(url).hostname or ""
    file = config.paths().config_file.with_name("keys.json")
    if remove:
        keys.save(url, None, file)
        typer.echo(f"Forgot the key of {host}.", err=True)
        return
    key = typer.prompt(f"API key of {host}", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read()
    key = keys.checked(key.strip(), "What was entered")
    _note_untried(lambda: _try_mcp(url, key) if mcp is not None else _try_api(url, key))
    keys.save(url, key, file)
    typer.echo(f"Stored the key of {host} in {file}.", err=True)


def _mcp_url(url: str) -> str:
    """The URL of an MCP server whose key may be stored. Raises UsageError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise UsageError("--mcp must be the http(s) URL of an MCP server", "Such as https://HOST/mcp")
    keys.check_encrypted(url, "The key")
    return url


def _note_untried(attempt: Callable[[], None]) -> None:
    """Try a key. One that is refused is an error; a server that cannot be reached proves nothing."""
    try:
        attempt()
    except Refused:
        raise
    except PixtralError as error:
        typer.echo(f"The key was not tried: {error.message}.", err=True)


def _try_api(url: str, key: str) -> None:
    with closing(ApiClient(parse_endpoint(url, key), read_timeout=10)) as link:
        link.get("/models")


def _try_mcp(url: str, key: str) -> None:
    if not find_spec("mcp"):
        raise PixtralError(f"--mcp needs one more package: {install_command('mcp')}")
    from pixtral_cli.chat.toolbox import mcp_servers

    try:
        with mcp_servers.open_servers([url], {url: key}):
            return
    except mcp_servers.KeyRefused as error:
        raise Refused(error.message, "Copy the key again") from error
