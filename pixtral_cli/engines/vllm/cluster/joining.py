"""The coordinator's client: a machine that joins the cluster, runs what it is assigned, and reports."""

import http.client
import json
import secrets
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from pixtral_cli import errors
from pixtral_cli.engines.vllm.cluster.assignment import Assignment, PartReport
from pixtral_cli.engines.vllm.cluster.coordinator import CONFLICT, MAX_BODY
from pixtral_cli.engines.vllm.cluster.machine import Machine
from pixtral_cli.engines.vllm.cluster.network import ReachabilityProbe, interface_of, is_reachable, join_address
from pixtral_cli.engines.vllm.cluster.node import ENDED, RUNNING, Node
from pixtral_cli.engines.vllm.engine import is_exit_signal
from pixtral_cli.errors import NetworkError, PixtralError, UsageError
from pixtral_cli.util.sanitize import visible

HEARTBEAT_INTERVAL = 0.5  # seconds
RETRY_INTERVAL = 0.25  # seconds between attempts to reach the first machine
REQUEST_TIMEOUT = 5.0  # seconds
JOIN_TIMEOUT = 30.0  # seconds for the reply to a join: the first machine tries to connect back
MAX_SILENCE = 60.0  # seconds without the first machine after which this one stops its vLLMs
MAX_OUTAGE = 600.0  # seconds without the first machine after which this one ends
MAX_REFUSED = 3  # consecutive refused connections after which the first machine's pixtral counts as ended


class RejoinRequired(PixtralError):
    """The first machine does not know this one, since its pixtral was restarted."""


class CoordinatorClient:
    """A connection to the coordinator.

    Methods raise NetworkError when it cannot be reached, and the errors it replies with.
    """

    def __init__(self, host: str, port: int, token: str) -> None:
        self.name = join_address(host, port)
        self._connection = http.client.HTTPConnection(host, port, timeout=REQUEST_TIMEOUT)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    @property
    def own_address(self) -> str:
        """This machine's address on the open connection."""
        return str(self._connection.sock.getsockname()[0])

    def about(self) -> dict[str, Any]:
        """The description of the model and the cluster."""
        return self._request("GET", "/v1/cluster", None)

    def join(self, body: dict[str, Any]) -> None:
        """Send the request to join."""
        self._connection.timeout = JOIN_TIMEOUT
        if self._connection.sock:
            self._connection.sock.settimeout(JOIN_TIMEOUT)
        self._request("POST", "/v1/join", body)
        self._connection.timeout = REQUEST_TIMEOUT
        self._connection.sock.settimeout(REQUEST_TIMEOUT)

    def heartbeat(self, body: dict[str, Any]) -> dict[str, Any]:
        """Send the reports of this machine's parts; returns the coordinator's reply."""
        return self._request("POST", "/v1/beat", body)

    def _request(self, method: str, path: str, body: Any) -> dict[str, Any]:
        try:
            self._connection.request(method, path, json.dumps(body) if body is not None else None, self._headers)
            response = self._connection.getresponse()
            status, content = response.status, response.read(MAX_BODY)
        except ConnectionRefusedError as error:
            self._connection.close()
            raise NothingListens(
                f"Nothing listens at {self.name}", "Is pixtral serve --nodes running there?"
            ) from error
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
                f"{self.name} is not a pixtral that machines join", "Copy the line that it printed"
            ) from error
        if status == CONFLICT:
            raise RejoinRequired(message)
        error_class = getattr(errors, kind, PixtralError)
        raise error_class(visible(message, 200), visible(hint, 200)) from Refusal()

    def close(self) -> None:
        self._connection.close()


class NothingListens(NetworkError):
    """The connection was refused: the machine is reachable and no process listens there."""


class Refusal(Exception):
    """The `__cause__` of an error with which the first machine has replied, as opposed to one of the connection."""


def wait_for_coordinator(coordinator: CoordinatorClient, seconds: float, note: Callable[[str], None]) -> dict[str, Any]:
    """The coordinator's description of the cluster, requested for up to `seconds`.

    Raises NetworkError, or what it replies with.
    """
    until, noted = time.monotonic() + seconds, False
    while True:
        try:
            return coordinator.about()
        except NetworkError as error:
            if isinstance(error.__cause__, Refusal) or time.monotonic() > until:
                raise
            if not noted:
                note(f"{error.message}; trying for {seconds:.0f} s")
                noted = True
        time.sleep(RETRY_INTERVAL)


class JoinedMachine:
    """This machine as a member of the cluster."""

    def __init__(
        self, coordinator: CoordinatorClient, rank: int, machine: Machine, note: Callable[[str], None]
    ) -> None:
        self._coordinator, self._rank, self._note = coordinator, rank, note
        self.id = secrets.token_hex(8)
        self.machine = machine.with_address(coordinator.own_address, interface_of(coordinator.own_address))
        self._probe = ReachabilityProbe(self.machine.address)
        self._probed: set[str] = set()
        self._unreachable: set[int] = set()
        self._last_reply = time.monotonic()
        self._refused = 0
        self._noted: dict[int, tuple[int, str]] = {}

    def join(self) -> None:
        """Join the cluster. Raises the error with which the first machine refuses."""
        probe = [self._probe.port, self._probe.nonce]
        self._coordinator.join({"rank": self._rank, "id": self.id, "machine": self.machine.to_json(), "probe": probe})
        self._last_reply = time.monotonic()
        self._note(f"Joined {self._coordinator.name} as rank {self._rank}, by {self.machine.interface or 'an interface'}"
                   f" with {self.machine.address}")  # fmt: skip

    def run(self, node: Node, progress: Callable[[str], None]) -> None:
        """Run what is assigned to this machine; returns when the first machine ends.

        Raises NetworkError when it is lost. `progress` is called with the state of vLLM at every heartbeat.
        """
        assignments: list[Assignment] = []
        try:
            while True:
                reports = node.apply(assignments)
                self._show(reports, progress)
                reply = self._heartbeat(reports)
                if reply is not None:
                    if reply["end"]:
                        return
                    assignments = [Assignment.from_json(value) for value in reply["assignments"]]
                    self._probe_peers(reply["peers"])
                elif time.monotonic() - self._last_reply > MAX_SILENCE and assignments:
                    self._note("The first machine has not been heard of for a minute: its vLLM here is stopped")
                    assignments = []
                time.sleep(HEARTBEAT_INTERVAL)
        finally:
            (node.request_stop if is_exit_signal(sys.exception()) else node.stop)()

    def close(self) -> None:
        self._probe.close()

    def _heartbeat(self, reports: list[PartReport]) -> dict[str, Any] | None:
        """The first machine's reply; None while it cannot be reached. Raises NetworkError when it has ended."""
        body = {"rank": self._rank, "id": self.id, "parts": [report.to_json() for report in reports]}
        try:
            reply = self._coordinator.heartbeat({**body, "unreachable": sorted(self._unreachable)})
        except NothingListens as error:
            self._refused += 1
            if self._refused >= MAX_REFUSED:
                raise NetworkError(
                    "The first machine's pixtral has ended without a word", "Join its next one"
                ) from error
            return None
        except NetworkError as error:
            if isinstance(error.__cause__, Refusal):
                raise
            if time.monotonic() - self._last_reply > MAX_OUTAGE:
                raise
            return None
        if time.monotonic() - self._last_reply > MAX_SILENCE:
            self._note("The first machine is back")
        self._last_reply, self._refused = time.monotonic(), 0
        return reply

    def _probe_peers(self, peers: dict[str, Any]) -> None:
        """Check once for each other machine, on a separate thread, whether it can be reached."""
        for rank, (address, port, nonce) in peers.items():
            if nonce not in self._probed:
                self._probed.add(nonce)
                threading.Thread(target=self._probe_peer, args=(int(rank), address, port, nonce), daemon=True).start()

    def _probe_peer(self, rank: int, address: str, port: int, nonce: str) -> None:
        if not is_reachable(address, port, nonce):
            self._unreachable.add(rank)

    def _show(self, reports: list[PartReport], progress: Callable[[str], None]) -> None:
        """Show the state of this machine's vLLMs, and a note for each change."""
        running = next((report for report in reports if report.state == RUNNING), None)
        if running:
            percent = f" {running.loaded:.0%}" if 0 < running.loaded < 1 else ""
            progress(f"vLLM of replica {running.replica}: {running.doing}{percent}")
        else:
            progress("Waiting for the other machines")
        for report in reports:
            state = (report.epoch, report.state)
            if self._noted.get(report.replica) != state:
                self._noted[report.replica] = state
                if report.state == ENDED:
                    self._note(
                        f"vLLM of replica {report.replica} has ended: {visible(report.message)}. {visible(report.hint)}"
                    )
                elif report.state == RUNNING:
                    self._note(f"vLLM of replica {report.replica} starts")
