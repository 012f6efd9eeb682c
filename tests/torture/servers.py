"""Web servers that misbehave, on a real socket of this machine, and a network that takes them for public ones."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpcore2

from pixtral_cli.util.net import Network

Answer = Callable[[socket.socket, str], None]
PUBLIC = "93.184.216.34"


@contextlib.contextmanager
def serve(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Answer each request in a thread of its own, handing over the socket and the request's head. Gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # closed: the test is over
                    return
                threading.Thread(target=converse, args=(connection,), daemon=True).start()

        def converse(plain: socket.socket) -> None:
            with contextlib.suppress(OSError), wrapped(plain) as connection:  # the client may hang up at any time
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(65536)
                answer(connection, head.decode("latin-1"))

        def wrapped(plain: socket.socket) -> socket.socket:
            return tls.wrap_socket(plain, server_side=True) if tls else plain

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def reply(body: bytes = b"", *, status: str = "200 OK", **headers: str) -> Answer:
    """An answer with a body and its length."""
    fields = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = f"HTTP/1.1 {status}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
    return lambda connection, request: connection.sendall(head.encode() + body)


def redirect(location: str) -> Answer:
    return reply(status="302 Found", Location=location)


def remembering(heads: list[str], answer: Answer) -> Answer:
    """The same answer, the request's head being added to a list."""

    def note_and_answer(connection: socket.socket, head: str) -> None:
        heads.append(head)
        answer(connection, head)

    return note_and_answer


class Rerouted(httpcore2.SyncBackend):
    """Dials this machine whatever the address, and remembers what was asked for."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.dialled: list[tuple[str, int]] = []

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *_: Any, **__: Any) -> Any:
        self.dialled.append((host, port))
        return super().connect_tcp("127.0.0.1", self.port, timeout)


def internet(port: int, names: dict[str, list[str]] | None = None, **options: Any) -> Network:
    """A network in which names resolve as told (others to a public address) and every address leads to `port` here."""
    known = names or {}
    return Network(resolve=lambda host, _: known.get(host, [PUBLIC]), dial=Rerouted(port), **options)
