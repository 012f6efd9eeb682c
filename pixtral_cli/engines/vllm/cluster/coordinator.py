"""The HTTP server of the first machine, at which the others join. Standard library only; every request needs the token."""

import errno
import hmac
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOL_SOCKET, socket
from typing import Any

from pixtral_cli import __version__
from pixtral_cli.engines.vllm.cluster.assignment import PartReport
from pixtral_cli.engines.vllm.cluster.machine import Machine
from pixtral_cli.engines.vllm.cluster.membership import Membership, UnknownMember
from pixtral_cli.engines.vllm.cluster.network import ReachabilityProbe, interface_of, is_reachable, join_address
from pixtral_cli.errors import NetworkError, PixtralError, UsageError

MAX_BODY = 1_000_000  # bytes
MAX_CONNECTIONS = 512
IDLE_TIMEOUT = 30.0  # seconds for a connection to send a whole request
CONFLICT = 409  # the reply to a machine that has not joined and must join again


class Coordinator:
    """Listens on `host` and `port` for machines with the `token`. `about`: the description of the model that they get."""

    def __init__(self, host: str, port: int, token: str, membership: Membership, about: dict[str, Any]) -> None:
        self.membership = membership
        self.token = token
        self.about = about
        self.probes: dict[int, tuple[str, int, str]] = {}  # by rank: address, port and nonce of the machine's probe
        handler = type("Handler", (_Handler,), {"coordinator": self})
        try:
            self._server = _Server(host, port, handler)
        except OSError as error:
            why = (
                "is in use"
                if error.errno == errno.EADDRINUSE
                else f"cannot be listened on: {(error.strerror or '').lower()}"
            )
            hint = "Choose another: --coordinator HOST:PORT"
            raise PixtralError(f"{join_address(host, port)}, where machines are to join, {why}", hint) from error
        self.port: int = self._server.server_address[1]
        self._own_probe: ReachabilityProbe | None = None
        threading.Thread(target=self._server.serve_forever, args=(0.2,), name="coordinator", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        if self._own_probe:
            self._own_probe.close()

    def join(self, body: dict[str, Any], seen_address: str, own_address: str) -> dict[str, Any]:
        """Handle a machine's request to join.

        `seen_address`: its address on the connection; `own_address`: this machine's. Raises NetworkError behind address
        translation, and as `Membership.join` does.
        """
        rank, id, machine = int(body["rank"]), str(body["id"]), Machine.from_json(body["machine"])
        if machine.address != seen_address:
            self.membership.note_refusal(
                f"{machine.name} is refused: it is seen as {seen_address}, by address translation"
            )
            raise NetworkError(
                f"This machine is {machine.address} to itself and {seen_address} to the first one",
                "vLLM connects in both directions: join without address translation (NAT) in between",
            )
        self._set_own_address(own_address)
        self.membership.join(rank, id, machine)
        port, nonce = int(body["probe"][0]), str(body["probe"][1])
        self.probes[rank] = (seen_address, port, nonce)
        if not is_reachable(seen_address, port, nonce):
            self.membership.note_refusal(
                f"Rank 0 cannot connect to rank {rank} ({machine.name}): a firewall between them must let TCP through"
            )
        return {"joined": True}

    def _set_own_address(self, address: str) -> None:
        """Record this machine's address, by which another machine has reached it first."""
        first = self.membership.first
        if not first.address:
            self.membership.first = first.with_address(address, interface_of(address))
        if self._own_probe is None:
            self._own_probe = ReachabilityProbe(address)
            self.probes[0] = (address, self._own_probe.port, self._own_probe.nonce)

    def heartbeat(self, body: dict[str, Any]) -> dict[str, Any]:
        """Handle a machine's heartbeat: the reports of its parts.

        Returns its assignments and the other machines' probes.
        """
        rank, id = int(body["rank"]), str(body["id"])
        parts = [PartReport.from_json(part) for part in body["parts"]]
        assignments, ending = self.membership.heartbeat(rank, id, parts)
        for other in body.get("unreachable", ()):
            self.membership.report_unreachable(rank, id, int(other))
        peers = {str(other): probe for other, probe in self.probes.items() if other != rank}
        return {"assignments": [assignment.to_json() for assignment in assignments], "end": ending, "peers": peers}


class _Server(ThreadingHTTPServer):
    """A threading server with a limit on concurrent connections."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = AF_INET6 if ":" in host else AF_INET
        self._free = threading.Semaphore(MAX_CONNECTIONS)
        super().__init__((host, port), handler)

    def server_bind(self) -> None:
        self.socket.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)  # without looking up the host's name
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about a broken connection."""


class _Handler(BaseHTTPRequestHandler):
    """`GET /v1/cluster`, `POST /v1/join` and `POST /v1/beat`. The end of a connection is reported to the membership."""

    coordinator: Coordinator
    connection: socket
    protocol_version = "HTTP/1.1"
    server_version, sys_version = f"pixtral/{__version__}", ""
    timeout = IDLE_TIMEOUT
    member: tuple[int, str] | None = None

    def handle(self) -> None:
        try:
            super().handle()
        finally:
            if self.member:
                self.coordinator.membership.disconnected(*self.member)

    def do_GET(self) -> None:
        self._answer({"/v1/cluster": lambda body: self.coordinator.about}, {})

    def do_POST(self) -> None:
        try:
            size = int(self.headers.get("Content-Length", ""))
            if not 0 <= size <= MAX_BODY:
                raise ValueError
            body = json.loads(self.rfile.read(size))
        except (ValueError, RecursionError):
            self.close_connection = True
            self._send(400, {"error": {"kind": "UsageError", "message": "The body is not JSON", "hint": ""}})
            return
        self._answer({"/v1/join": self._join, "/v1/beat": self._heartbeat}, body)

    def _join(self, body: Any) -> dict[str, Any]:
        return self.coordinator.join(body, self.client_address[0], self.connection.getsockname()[0])

    def _heartbeat(self, body: Any) -> dict[str, Any]:
        reply = self.coordinator.heartbeat(body)
        self.member = int(body["rank"]), str(body["id"])
        return reply

    def _answer(self, paths: dict[str, Callable[[Any], dict[str, Any]]], body: Any) -> None:
        if not self._has_token():
            self.close_connection = True
            self.coordinator.membership.note_refusal(f"{self.client_address[0]} is refused: its token is wrong")
            self._fail(401, NetworkError("The token is not the first machine's", "Copy the line that it has printed"))
        elif handle := paths.get(self.path):
            try:
                self._send(200, handle(body))
            except UnknownMember as error:
                self._fail(CONFLICT, error)
            except PixtralError as error:
                self._fail(403, error)
            except (KeyError, TypeError, ValueError, IndexError, AttributeError):
                self._fail(400, UsageError("The request cannot be read", "Run the same pixtral on all machines"))
        else:
            self._fail(404, UsageError("There is no such path", "There are: /v1/cluster, /v1/join, /v1/beat"))

    def _has_token(self) -> bool:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        sent = token.strip().encode("latin-1", "replace")
        return scheme.lower() == "bearer" and hmac.compare_digest(sent, self.coordinator.token.encode())

    def _fail(self, status: int, error: PixtralError) -> None:
        kind = type(error).__name__
        self._send(status, {"error": {"kind": kind, "message": error.message, "hint": error.hint}})

    def _send(self, status: int, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the membership reports the events."""
