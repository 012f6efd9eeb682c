"""The official package's MCP server over streamable HTTP, which takes requests with one bearer token alone."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl


@dataclass
class Keyed:
    """A running server: its URL, and the Authorization header of each request, None where there was none."""

    url: str
    seen: list[str | None] = field(default_factory=list)


class _Verifier:
    def __init__(self, key: str) -> None:
        self._key = key

    async def verify_token(self, token: str) -> AccessToken | None:
        return AccessToken(token=token, client_id="test", scopes=[]) if token == self._key else None


@contextmanager
def keyed(key: str) -> Iterator[Keyed]:
    listening = socket.create_server(("127.0.0.1", 0))
    running = Keyed(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp")
    settings = AuthSettings(
        issuer_url=AnyHttpUrl("https://issuer.example"), resource_server_url=AnyHttpUrl(running.url)
    )
    server: MCPServer[Any] = MCPServer("keyed", token_verifier=_Verifier(key), auth=settings, log_level="ERROR")

    @server.tool(structured_output=False)
    def stock(item: str) -> str:
        """How many there are."""
        return f"3 of {item}"

    inner = server.streamable_http_app()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            running.seen.append(headers[b"authorization"].decode() if b"authorization" in headers else None)
        await inner(scope, receive, send)

    http = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=http.run, args=([listening],))
    thread.start()
    try:
        yield running
    finally:
        http.should_exit = True
        thread.join(60)
