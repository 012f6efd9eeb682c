"""The other end of the coordinator: a machine that joins, does what it is told, and says how it goes."""

import http.client
import json
import secrets
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from pixtral_cli import errors
from pixtral_cli.engines.vllm.cluster.coordinator import CONFLICT, MAX_BODY
from pixtral_cli.engines.vllm.cluster.machine import Machine
from pixtral_cli.engines.vllm.cluster.network import ReachabilityProbe, interface_of, join_address, reaches
from pixtral_cli.engines.vllm.cluster.node import ENDED, RUNNING, Node
from pixtral_cli.engines.vllm.cluster.order import Order, PartReport
from pixtral_cli.engines.vllm.engine import is_exit_signal
from pixtral_cli.errors import NetworkError, PixtralError, UsageError
from pixtral_cli.util.sanitize import visible

BEAT_INTERVAL = 0.5
RETRY_INTERVAL = 0.25  # between two tries to reach a first machine that is not there yet
REQUEST_TIMEOUT = 5.0
JOIN_TIMEOUT = 30.0  # seconds in which a join is answered: the first machine tries to connect back
MAX_SILENCE = 60.0  # seconds without the first machine after which this one stops its vLLMs
GIVE_UP = 600.0  # seconds without the first machine after which this one ends
REFUSED_BEATS = 3  # connections refused in a row that mean that the first machine's pixtral has ended


class JoinAgain(PixtralError):
    """The first machine does not know this one: it was started anew."""


class FirstMachine:
    """The connection to the coordinator. Methods raise NetworkError when it cannot be reached, or what it refuses with."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self.name = join_address(host, port)
        self._connection = http.client.HTTPConnection(host, port, timeout=REQUEST_TIMEOUT)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    @property
    def own_address(self) -> str:
        """This machine's address on the open connection."""
        return str(self._connection.sock.getsockname()[0])

    def about(self) -> dict[str, Any]:
        return self._ask("GET", "/v1/cluster", None)

    def join(self, body: dict[str, Any]) -> None:
        self._connection.timeout = JOIN_TIMEOUT
        if self._connection.sock:
            self._connection.sock.settimeout(JOIN_TIMEOUT)
        self._ask("POST", "/v1/join", body)
        self._connection.timeout = REQUEST_TIMEOUT
        self._connection.sock.settimeout(REQUEST_TIMEOUT)

    def beat(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._ask("POST", "/v1/beat", body)

    def _ask(self, method: str, path: str, body: Any) -> dict[str, Any]:
        try:
            self._connection.request(method, path, json.dumps(body) if body is not None else None, self._headers)
            response = self._connection.getresponse()
            status, content = response.status, response.read(MAX_BODY)
        except ConnectionRefusedError as error:
            self._connection.close()
            raise NotThere(f"Nothing listens at {self.name}", "Is pixtral serve --nodes running there?") from error
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            why = (
                "no answer" if isinstance(error, TimeoutError) else (getattr(error, "strerror", None) or "it broke off")
            )
            hint = "Is the address right, and the port open to this machine?"
            raise NetworkError(f"{self.name} cannot be reached: {str(why).lower()}", hint) from error
        try:
            reply = json.loads(content)
            if status == 200 and isinstance(reply, dict):
                return reply
            kind, message, hint = (str(reply["error"][key]) for key in ("kind", "message", "hint"))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self.name} is no pixtral that machines join", "Copy the line that it printed"
            ) from error
        if status == CONFLICT:
            raise JoinAgain(message)
        raised = getattr(errors, kind, PixtralError)
        raise raised(visible(message, 200), visible(hint, 200)) from Refusal()

    def close(self) -> None:
        self._connection.close()


class NotThere(NetworkError):
    """The connection was refused: the machine is there, and no process listens."""


class Refusal(Exception):
    """The cause of an error with which the first machine has answered, as opposed to one on the way to it."""


def wait_for_first(first: FirstMachine, seconds: float, note: Callable[[str], None]) -> dict[str, Any]:
    """What the first machine says of the cluster; it is tried for so many seconds."""
    until, told = time.monotonic() + seconds, False
    while True:
        try:
            return first.about()
        except NetworkError as error:
            if isinstance(error.__cause__, Refusal) or time.monotonic() > until:
                raise
            if not told:
                note(f"{error.message}; trying for {seconds:.0f} s")
                told = True
        time.sleep(RETRY_INTERVAL)


class JoinedMachine:
    """This machine as a member of the cluster: `run` until the first machine ends it."""

    def __init__(self, first: FirstMachine, rank: int, machine: Machine, note: Callable[[str], None]) -> None:
        self._first, self._rank, self._note = first, rank, note
        self.id = secrets.token_hex(8)
        self.machine = machine.at(first.own_address, interface_of(first.own_address))
        self._probe = ReachabilityProbe(self.machine.address)
        self._probed: set[str] = set()
        self._unreachable: set[int] = set()
        self._heard = time.monotonic()
        self._refused = 0
        self._said: dict[int, tuple[int, str]] = {}

    def join(self) -> None:
        """Join. Raises what the first machine refuses with."""
        probe = [self._probe.port, self._probe.nonce]
        self._first.join({"rank": self._rank, "id": self.id, "machine": self.machine.to_json(), "probe": probe})
        self._heard = time.monotonic()
        self._note(f"Joined {self._first.name} as rank {self._rank}, by {self.machine.interface or 'an interface'}"
                   f" with {self.machine.address}")  # fmt: skip

    def run(self, node: Node, progress: Callable[[str], None]) -> None:
        """Do as the first machine says until it ends, which is how this returns. Raises NetworkError when it is lost.

        `progress` is told often what vLLM does.
        """
        orders: list[Order] = []
        try:
            while True:
                reports = node.obey(orders)
                self._tell(reports, progress)
                reply = self._beat(reports)
                if reply is not None:
                    if reply["end"]:
                        return
                    orders = [Order.from_json(order) for order in reply["orders"]]
                    self._probe_peers(reply["peers"])
                elif time.monotonic() - self._heard > MAX_SILENCE and orders:
                    self._note("The first machine has not been heard of for a minute: its vLLM here is stopped")
                    orders = []
                time.sleep(BEAT_INTERVAL)
        finally:
            (node.request_stop if is_exit_signal(sys.exception()) else node.stop)()

    def close(self) -> None:
        self._probe.close()

    def _beat(self, reports: list[PartReport]) -> dict[str, Any] | None:
        """The first machine's reply; None while it cannot be reached. Raises NetworkError when it has ended."""
        body = {"rank": self._rank, "id": self.id, "parts": [report.to_json() for report in reports]}
        try:
            reply = self._first.beat({**body, "unreachable": sorted(self._unreachable)})
        except NotThere as error:
            self._refused += 1
            if self._refused >= REFUSED_BEATS:
                raise NetworkError(
                    "The first machine's pixtral has ended without a word", "Join its next one"
                ) from error
            return None
        except NetworkError as error:
            if isinstance(error.__cause__, Refusal):
                raise
            if time.monotonic() - self._heard > GIVE_UP:
                raise
            return None
        if time.monotonic() - self._heard > MAX_SILENCE:
            self._note("The first machine is back")
        self._heard, self._refused = time.monotonic(), 0
        return reply

    def _probe_peers(self, peers: dict[str, Any]) -> None:
        """Try once, apart from the beats, whether each other machine can be reached."""
        for rank, (address, port, nonce) in peers.items():
            if nonce not in self._probed:
                self._probed.add(nonce)
                threading.Thread(target=self._try, args=(int(rank), address, port, nonce), daemon=True).start()

    def _try(self, rank: int, address: str, port: int, nonce: str) -> None:
        if not reaches(address, port, nonce):
            self._unreachable.add(rank)

    def _tell(self, reports: list[PartReport], progress: Callable[[str], None]) -> None:
        """Say what is new of the vLLMs here."""
        doing = next((report for report in reports if report.state == RUNNING), None)
        if doing:
            percent = f" {doing.loaded:.0%}" if 0 < doing.loaded < 1 else ""
            progress(f"vLLM of replica {doing.replica}: {doing.doing}{percent}")
        else:
            progress("Waiting for the other machines")
        for report in reports:
            now = (report.epoch, report.state)
            if self._said.get(report.replica) != now:
                self._said[report.replica] = now
                if report.state == ENDED:
                    self._note(
                        f"vLLM of replica {report.replica} has ended: {visible(report.message)}. {visible(report.hint)}"
                    )
                elif report.state == RUNNING:
                    self._note(f"vLLM of replica {report.replica} starts")
