"""Runs the MCP server: over stdin and stdout, or over streamable HTTP under the rules of `pixtral serve`."""

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
FINISH = 5.0  # seconds that calls have to finish after a signal


@dataclass(frozen=True, slots=True)
class Answering:
    """Who answers. `open`: the engine, which may take as long as loading a model. `resident`: another process keeps the
    model, and may have ended since the last call: then the engine is opened for each call."""

    model: str
    open: Callable[[], Engine]
    sampling: Sampling
    resident: bool


class EngineKeeper:
    """Opens the engine at the first call: agents start their servers long before they ask, and often ask nothing."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._lock = threading.Lock()
        self._kept: Engine | None = None

    @contextlib.contextmanager
    def opened(self) -> Iterator[Engine]:
        if self._answering.resident:
            with contextlib.closing(self._answering.open()) as engine:
                yield engine
            return
        with self._lock:
            self._kept = self._kept or self._answering.open()
        yield self._kept

    def close(self) -> None:
        if self._kept:
            self._kept.close()


def run_stdio(answering: Answering, rules: PictureRules) -> None:
    """Serve the program at the other end of stdin and stdout until it closes them."""
    with contextlib.closing(EngineKeeper(answering)) as keeper:
        create_server(VisionTools(keeper.opened, answering.sampling, rules), answering.model).run("stdio")


def run_http(
    answering: Answering, rules: PictureRules, options: ServeOptions, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Serve streamable HTTP until a signal. Raises UsageError for an address that wants a key, PixtralError for a port."""
    access = options.rules()
    with bind(options.host, options.port) as listening, contextlib.closing(EngineKeeper(answering)) as keeper:
        server = create_server(VisionTools(keeper.opened, answering.sampling, rules), answering.model)
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
        serve(app, listening, finish=FINISH, lifespan="on")
