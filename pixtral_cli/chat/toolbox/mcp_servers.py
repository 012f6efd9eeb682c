"""The tools of Model Context Protocol servers.

A server is started by its command and spoken to over stdin and stdout, or runs already and has a URL (streamable HTTP),
and perhaps a key.
"""

import base64
import binascii
import json
import logging
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

import httpx2
import mcp_types as types
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from pixtral_cli import images
from pixtral_cli.chat.toolbox.engine import RunnableTool, ToolResult
from pixtral_cli.chat.tools import Tool
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.util.addresses import is_this_machine
from pixtral_cli.util.sanitize import visible

START_TIMEOUT = 60.0  # seconds for each reply until the tools are known: npx and uvx may download the server first
CALL_TIMEOUT = 600.0  # seconds for a call
HTTP_TIMEOUT = 30.0  # seconds for a connection
UNAUTHORIZED = 401  # HTTP's status for a request without a key that is taken
MAX_PAGES = 100  # of a list of tools
MAX_NAME = 64  # characters of a tool's name that engines take
KEY_HINT = "Store one: pixtral login --mcp URL; or set PIXTRAL_MCP_KEY"

_Result = TypeVar("_Result")


class KeyRefused(PixtralError):
    """A server wants a key, or another one."""


@dataclass(slots=True)
class _Connection:
    """How a server is spoken to. `log` is what it wrote to stderr, where it was started here; `status` the last one of HTTP."""

    log: IO[str] | None = None
    key: str = field(default="", repr=False)
    status: int = 0

    async def note(self, response: httpx2.Response) -> None:
        self.status = response.status_code


class McpServer:
    """A running server. `name` is how messages call it."""

    def __init__(self, name: str, portal: BlockingPortal, client: Client, connection: _Connection) -> None:
        self._name, self._portal, self._client, self._connection = name, portal, client, connection

    @contextmanager
    def connected(self) -> Iterator["McpServer"]:
        """Raises PixtralError for a server that cannot be reached, ends, hangs or speaks no MCP."""
        connection = self._portal.wrap_async_context_manager(self._client)
        try:
            connection.__enter__()
        except Exception as error:  # OSError, MCPError, or a group of them
            raise _server_error(self._name, error, self._connection, START_TIMEOUT) from error
        try:
            yield self
        finally:
            with suppress(Exception):  # what a server does when it is ended; errors of the body are not for its tasks
                connection.__exit__(None, None, None)

    def list_tools(self) -> list["McpTool"]:
        """All tools, under names that engines take. Raises PixtralError for a server that cannot say."""
        found: list[McpTool] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = self._wait(partial(self._client.list_tools, cursor=cursor), START_TIMEOUT)
            for each in page.tools:
                name = re.sub(r"[^a-zA-Z0-9_-]", "_", each.name)[:MAX_NAME]
                found.append(McpTool(Tool(name, each.description or "", each.input_schema), each.name, self))
            cursor = page.next_cursor
            if not cursor:
                break
        return found

    def call(self, tool: str, arguments: dict[str, Any]) -> types.CallToolResult:
        """What the server's tool gives back. Raises PixtralError where the server ended, hangs or refuses."""
        call = partial(self._client.call_tool, tool, arguments, read_timeout_seconds=CALL_TIMEOUT)
        return self._wait(call, CALL_TIMEOUT)

    def _wait(self, work: Callable[[], Coroutine[Any, Any, _Result]], timeout: float) -> _Result:
        future: Future[_Result] = self._portal.start_task_soon(work)
        try:
            return future.result()
        except Exception as error:  # the client's errors come from many layers
            raise _server_error(self._name, error, self._connection, timeout) from error
        except BaseException:  # Ctrl-C
            future.cancel()
            raise


@dataclass(frozen=True, slots=True)
class McpTool:
    """A tool of a server, which knows it by the name `own_name`."""

    tool: Tool
    own_name: str
    server: McpServer

    def run(self, arguments: dict[str, Any], images: Sequence[Image]) -> ToolResult:
        """The result's texts and images. Raises PixtralError for an error of the tool or of its server."""
        result = self.server.call(self.own_name, arguments)
        given = _result(result)
        if result.is_error:
            raise PixtralError(given.text or "The tool failed.")
        return given


@contextmanager
def open_servers(
    servers: Sequence[str], keys: Mapping[str, str] = MappingProxyType({})
) -> Iterator[dict[str, list[RunnableTool]]]:
    """Start or reach the servers; the tools of each by its command or URL. They are ended or left when this is left.

    A command is split as a shell does, but run without one, in the environment of this process. `keys` are sent as bearer
    tokens to the URLs that they are given for. Raises UsageError for a command or URL that is none, PixtralError for a
    server that cannot be reached, wants another key, ends, hangs or speaks no MCP.
    """
    logging.getLogger("mcp").addHandler(logging.NullHandler())  # it would print tracebacks of what is reported here
    split = {each: _checked_url(each) if is_url(each) else _words(each) for each in servers}
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        opened = {
            each: stack.enter_context(
                _reached(each, keys.get(each, ""), portal) if is_url(each) else _running(words, portal)
            )
            for each, words in split.items()
        }
        yield {each: list(server.list_tools()) for each, server in opened.items()}


def check_names(servers: Sequence[str]) -> None:
    """Raises UsageError for a URL that is none, and for a command that does not exist."""
    for server in servers:
        _checked_url(server) if is_url(server) else _words(server)


def shown_name(server: str) -> str:
    """A command, or a URL without what may be secret in it, as messages have it."""
    if not is_url(server):
        return visible(server, 50)
    parts = urlsplit(server)
    return visible(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", 50)


def is_url(server: str) -> bool:
    """Whether a server is named by its URL, not by a command."""
    return re.match(r"[a-z][a-z0-9+.-]*://", server, re.IGNORECASE) is not None


def _checked_url(url: str) -> list[str]:
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is no number
        sound = False
    if not sound:
        shown = visible(re.split("[?@]", url)[0], 60)
        raise UsageError(f"--mcp {shown}: this is no URL of an MCP server", "Such as: --mcp https://HOST/mcp")
    return [url]


def _words(command: str) -> list[str]:
    shown = visible(command, 60)
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--mcp {shown}: {str(error).lower()}", "Quote it: --mcp 'COMMAND ARGS'") from error
    if not words:
        raise UsageError(
            "--mcp is empty", "Give the command of an MCP server, such as: --mcp 'uvx mcp-server-time', or its URL"
        )
    if shutil.which(words[0]) is None:
        raise UsageError(f"--mcp {shown}: there is no command {visible(words[0], 40)}", "Install it, or give its path")
    return words


@contextmanager
def _running(words: list[str], portal: BlockingPortal) -> Iterator[McpServer]:
    name = shown_name(shlex.join(words))
    parameters = StdioServerParameters(command=words[0], args=words[1:], env=dict(os.environ))
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        client = Client(stdio_client(parameters, errlog=log), read_timeout_seconds=START_TIMEOUT)
        with McpServer(name, portal, client, _Connection(log)).connected() as server:
            yield server


@contextmanager
def _reached(url: str, key: str, portal: BlockingPortal) -> Iterator[McpServer]:
    connection = _Connection(key=key)
    client = Client(_http_transport(url, connection), read_timeout_seconds=START_TIMEOUT)
    with McpServer(shown_name(url), portal, client, connection).connected() as server:
        yield server


@asynccontextmanager
async def _http_transport(url: str, connection: _Connection) -> AsyncIterator[Any]:
    """The package's transport, which follows redirects within scheme, host and port alone. No proxy hears what is for this machine."""
    http = httpx2.AsyncClient(
        headers={"Authorization": f"Bearer {connection.key}"} if connection.key else {},
        timeout=httpx2.Timeout(HTTP_TIMEOUT, read=CALL_TIMEOUT),
        trust_env=not is_this_machine(urlsplit(url).hostname or ""),
        event_hooks={"response": [connection.note]},
    )
    async with http, streamable_http_client(url, http_client=http) as streams:
        yield streams


def _server_error(name: str, error: Exception, connection: _Connection, timeout: float) -> PixtralError:
    """What went wrong with a server, with the last line that it wrote to its stderr where it ended."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    log = connection.log
    if connection.status == UNAUTHORIZED:
        wants = "refuses the key" if connection.key else "wants a key"
        return KeyRefused(f"The MCP server {name} {wants}", KEY_HINT)
    if isinstance(error, MCPError) and error.code == types.REQUEST_TIMEOUT:
        return PixtralError(
            f"The MCP server {name} did not reply within {timeout:g} s", "It may hang: try it by itself"
        )
    if isinstance(error, MCPError) and error.code != types.CONNECTION_CLOSED:
        return PixtralError(f"The MCP server {name}: {visible(_without(error.message, connection.key), 100)}")
    if isinstance(error, ValueError):  # a reply of the wrong form
        return PixtralError(
            f"The MCP server {name} sent what is no MCP", "Try it by itself: on stdout it may write MCP alone"
        )
    if log is None:
        why = visible(_without(str(error), connection.key), 100) or type(error).__name__
        return PixtralError(f"The MCP server {name} cannot be reached: {why}", "Check that it runs, and its URL")
    last = _last_line(log)
    return PixtralError(f"The MCP server {name} ended{': ' if last else ''}{last}", "Try its command by itself")


def _without(text: str, key: str) -> str:
    """What a server says, without the key that it was sent."""
    return text.replace(key, "…") if key else text


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    return visible(next((line.strip() for line in reversed(log.read().splitlines()) if line.strip()), ""), 100)


def _result(result: types.CallToolResult) -> ToolResult:
    """The texts of a result on lines of their own, and its images; in words what is neither."""
    texts: list[str] = []
    found: list[Image] = []
    for block in result.content:
        if isinstance(block, types.TextContent):
            texts.append(block.text)
        elif isinstance(block, types.ImageContent):
            found.append(_image(block.data))
        elif isinstance(block, types.EmbeddedResource) and isinstance(block.resource, types.TextResourceContents):
            texts.append(block.resource.text)
        elif isinstance(block, types.ResourceLink):
            texts.append(f"{block.name}: {block.uri}")
        else:
            texts.append(f"[{block.type} was left out]")
    if not result.content and result.structured_content is not None:
        texts.append(json.dumps(result.structured_content, ensure_ascii=False))
    if found and not texts:
        texts.append("The picture is shown next." if len(found) == 1 else f"{len(found)} pictures are shown next.")
    return ToolResult("\n".join(texts), tuple(found))


def _image(data: str) -> Image:
    try:
        return images.from_bytes(base64.b64decode(data, validate=True), "the tool's picture")
    except binascii.Error as error:
        raise PixtralError("The tool's picture is no base64.") from error
