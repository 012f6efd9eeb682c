"""A real server on a loopback port, in a thread of the test's process, over any engine."""

import socket
import struct
import threading
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from pixtral_cli.chat.engine import Engine
from pixtral_cli.server.app import create_app
from pixtral_cli.server.http.listener import HttpServer, bind
from pixtral_cli.server.service import ServiceOptions


@dataclass
class Running:
    url: str
    port: int
    server: HttpServer
    app: Any

    @property
    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=120, trust_env=False)

    def ask(self, content: Any = "hello", **fields: Any) -> httpx2.Response:
        body = {"model": "fake", "messages": [{"role": "user", "content": content}], **fields}
        with self.client as client:
            return client.post("/v1/chat/completions", json=body)

    def post(self, body: bytes, **headers: str) -> httpx2.Response:
        with self.client as client:
            named = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
            return client.post("/v1/chat/completions", content=body, headers=named)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)


@contextmanager
def serving(
    engine: Engine, *, arrive: float = 20, finish: float = 20, connections: int | None = None, **service: Any
) -> Iterator[Running]:
    app = create_app(engine, ServiceOptions(**{"model": "fake", **service}))
    listening = bind("127.0.0.1", 0)
    port = listening.getsockname()[1]
    server = HttpServer(app, request_timeout=arrive, shutdown_timeout=finish, connections=connections)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield Running(f"http://127.0.0.1:{port}", port, server, app)
    finally:
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive()


def png(width: int = 2, height: int = 1, colour: tuple[int, int, int] = (200, 30, 30)) -> bytes:
    """A small valid PNG, by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(colour) * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def data_url(data: bytes | None = None, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{b64encode(png() if data is None else data).decode()}"


def picture(url: str | None = None) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url or data_url()}}
