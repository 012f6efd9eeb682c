"""Listening sockets, and uvicorn with deadlines for the arrival of requests and a graceful shutdown."""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import h11
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from pixtral_cli import compat, config
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.server.http.connections import ConnectionLimits
from pixtral_cli.server.http.errors import ApiError

REQUEST_TIMEOUT = (
    26.0  # seconds until a whole request must have arrived; a little more than for its body, whose error the app sends
)
HEADER_TIMEOUT = 10.0  # seconds until the headers of a request must have arrived
SHUTDOWN_TIMEOUT = 28.0  # seconds that running answers have after SIGTERM to finish
TIMEOUT_ERROR = ApiError(408, "The request took too long to arrive.", code="request_timeout")


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket. Raises PixtralError when the port is taken, UsageError for a host that does not exist."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"There is no address {host!r} to listen on", "Use 127.0.0.1, or 0.0.0.0 for all") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise PixtralError(f"Port {port} on {host} {why}", "Choose another with --port") from error
    return listening


def bind_unix(path: Path) -> socket.socket:
    """A listening Unix socket of mode 0600, in place of any file of that name."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    listening.bind(str(new))
    new.chmod(0o600)  # its folder is 0700, so no other user can connect before
    listening.listen(128)
    new.rename(path)  # from now on clients can connect
    return listening


class TimedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with deadlines for the arrival of a request's headers and of all of it, and limits on
    open connections."""

    request_timeout = REQUEST_TIMEOUT
    limits = ConnectionLimits()
    _deadline: asyncio.TimerHandle | None = None
    _began = 0.0
    _address: str | None = None
    _admitted = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if isinstance(peer, tuple) else None
        self._admitted = self.limits.enter(self._address)
        if not self._admitted:
            transport.abort()
            return
        super().connection_made(transport)
        self._start_deadline()

    def data_received(self, data: bytes) -> None:
        if not self._admitted:
            return
        if self._deadline is None:
            self._start_deadline()
        super().data_received(data)
        if not self._arriving:
            self._cancel_deadline()
        elif compat.h11_connection(self).their_state is h11.SEND_BODY:
            self._set_deadline(self._began + self.request_timeout)

    def _start_deadline(self) -> None:
        self._began = self.loop.time()
        self._set_deadline(self._began + min(HEADER_TIMEOUT, self.request_timeout))

    def _set_deadline(self, deadline: float) -> None:
        self._cancel_deadline()
        self._deadline = self.loop.call_at(deadline, self._time_out)

    @property
    def _arriving(self) -> bool:
        """Whether part of a request is still missing, or uvicorn has no time-out of its own on an idle connection."""
        connection = compat.h11_connection(self)
        if connection.their_state is h11.SEND_BODY:
            return True
        idle = connection.their_state is h11.IDLE
        return idle and (compat.keep_alive_timer(self) is None or bool(connection.trailing_data[0]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._admitted:
            self._cancel_deadline()
            self.limits.leave(self._address)
            super().connection_lost(exc)

    def _cancel_deadline(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _time_out(self) -> None:
        connection = compat.h11_connection(self)
        if connection.our_state is h11.IDLE and connection.their_state is h11.IDLE and connection.trailing_data[0]:
            response = JSONResponse(TIMEOUT_ERROR.body, TIMEOUT_ERROR.status, {"Connection": "close"})
            self.transport.write(connection.send(h11.Response(status_code=408, headers=response.raw_headers)) or b"")
            self.transport.write(connection.send(h11.Data(data=bytes(response.body))) or b"")
        self.transport.close()


class HttpServer(uvicorn.Server):
    """Shuts down gracefully at the first SIGTERM or SIGINT, at once at the second.

    `request_timeout`: seconds within which a request must arrive. `shutdown_timeout`: seconds that running answers have
    to finish after the signal. `connections`: the limit of open ones. `tick` is called ten times a second.
    """

    def __init__(
        self,
        app: Starlette,
        *,
        request_timeout: float = REQUEST_TIMEOUT,
        shutdown_timeout: float = SHUTDOWN_TIMEOUT,
        connections: int | None = None,
        tick: "Callable[[HttpServer], None] | None" = None,
        lifespan: Literal["off", "on"] = "off",
    ) -> None:
        self._limits = ConnectionLimits(connections)
        protocol = type("Protocol", (TimedProtocol,), {"request_timeout": request_timeout, "limits": self._limits})
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol,
                ws="none",
                lifespan=lifespan,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=round(shutdown_timeout) + 2,
            )
        )
        self._ending: asyncio.Event = app.state.ending
        self._shutdown_timeout = shutdown_timeout
        self._tick = tick

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._limits.handle_loop_error)
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        if self._tick:
            self._tick(self)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(128 + sig)  # nothing needs cleaning up: the worker process ends with this one
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(self._shutdown_timeout, self._ending.set)
        await super().shutdown(sockets)


def serve(
    app: Starlette, listening: socket.socket, tick: Callable[[HttpServer], None] | None = None, **limits: Any
) -> None:
    """Serve until a signal. `tick` is called ten times a second and may set `should_exit`."""
    if not config.debug():
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # it would show tracebacks
    HttpServer(app, tick=tick, **limits).run([listening])
