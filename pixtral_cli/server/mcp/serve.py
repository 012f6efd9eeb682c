"""Runs the MCP server over stdin and stdout, or over streamable HTTP with the access rules of `pixtral serve`."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mcp.server.transport_security import TransportSecuritySettings

from pixtral_cli.chat.engine import Engine, Sampling
from pixtral_cli.server.http.access import AccessMiddleware
from pixtral_cli.server.http.listener import bind, serve
from pixtral_cli.server.http.request_id import RequestIdMiddleware
from pixtral_cli.server.mcp.pictures import PictureRules
from pixtral_cli.server.mcp.tools import VisionTools, create_server
from pixtral_cli.server.serve import ServeOptions

PATH = "/mcp"
MAX_BODY = 64_000_000  # bytes: pictures come as data URLs, too
SHUTDOWN_TIMEOUT = 5.0  # seconds that running calls have to finish after a signal


@dataclass(frozen=True, slots=True)
class EngineSource:
    """Opens the engine that answers. `open` may take as long as loading a model. `resident`: another process keeps the
    model, and may end between two calls; the engine is then opened for each call."""

    model: str
    open: Callable[[], Engine]
    sampling: Sampling
    resident: bool


class EngineHolder:
    """Opens the engine at the first call, since agents start their servers long before they use them, if they do."""

    def __init__(self, source: EngineSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[Engine]:
        """The engine for one call."""
        if self._source.resident:
            with contextlib.closing(self._source.open()) as engine:
                yield engine
            return
        with self._lock:
            self._engine = self._engine or self._source.open()
        yield self._engine

    def close(self) -> None:
        """Close the engine if it is open."""
        if self._engine:
            self._engine.close()


def run_stdio(source: EngineSource, rules: PictureRules) -> None:
    """Serve one client over stdin and stdout until it closes them."""
    with contextlib.closing(EngineHolder(source)) as holder:
        create_server(VisionTools(holder.opened, source.sampling, rules), source.model).run("stdio")


def run_http(
    source: EngineSource, rules: PictureRules, options: ServeOptions, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Serve streamable HTTP until a signal. Raises UsageError if the address needs an API key, PixtralError if the port is taken."""
    access = options.rules()
    with bind(options.host, options.port) as listening, contextlib.closing(EngineHolder(source)) as holder:
        server = create_server(VisionTools(holder.opened, source.sampling, rules), source.model)
        app = server.streamable_http_app(
            streamable_http_path=PATH,
            stateless_http=True,
            max_request_body_size=MAX_BODY,
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),  # `access` has it
        )
        app.add_middleware(AccessMiddleware, rules=access)
        app.add_middleware(RequestIdMiddleware)
        app.state.ending = asyncio.Event()
        host = f"[{options.host}]" if ":" in options.host else options.host
        ready(f"http://{host}:{listening.getsockname()[1]}{PATH}")
        serve(app, listening, shutdown_timeout=SHUTDOWN_TIMEOUT, lifespan="on")
