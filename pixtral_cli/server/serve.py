"""`pixtral serve`: binds the port, starts the worker process that keeps the model, and serves the application."""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.engines import resident
from pixtral_cli.engines.remote.client import ApiClient
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.server.app import create_app
from pixtral_cli.server.http.access import LOOPBACK, AccessRules
from pixtral_cli.server.http.listener import HttpServer, bind, serve
from pixtral_cli.server.openai.requests import make_image_loader
from pixtral_cli.server.service import ServiceOptions
from pixtral_cli.server.supervisor import WorkerSupervisor

ALIASES = ("pixtral-12b-2409",)
STATUS_TIMEOUT = 10.0  # seconds within which the worker must answer a request for its status
ANY_ADDRESS = ("0.0.0.0", "::", "")


@dataclass(frozen=True)
class ServeOptions:
    """The address, access rules and limits of `pixtral serve`.

    `image_urls`: images of requests may be http(s) URLs; `allow_private`: also at private addresses. `running` answers
    are computed at a time, `waiting` requests may queue. `all_formats`: images may be in rarely used formats.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    allowed_hosts: Sequence[str] = ()
    image_urls: bool = True
    allow_private: bool = False
    running: int = 4
    waiting: int = 16
    all_formats: bool = False

    @property
    def local(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def rules(self) -> AccessRules:
        """The access rules. Raises UsageError for an address that other machines can reach, without an API key."""
        if not self.local and not self.api_key:
            hint = "Set one in PIXTRAL_API_KEY, or listen on 127.0.0.1"
            raise UsageError(f"Listening on {self.host or 'every address'} needs an API key", hint)
        host_name = f"[{self.host}]" if ":" in self.host else self.host
        names = {*LOOPBACK, host_name.lower(), *(host.lower() for host in self.allowed_hosts)}
        return AccessRules(frozenset(names), self.host in ANY_ADDRESS, self.api_key)


def run(
    options: ServeOptions,
    spec: resident.ModelSpec,
    folder: Path,
    defaults: Sampling,
    *,
    loading: Callable[[int, float, str], None] = lambda percent, seconds, doing: None,
    ready: Callable[[str], None] = lambda url: None,
    command: Sequence[str] = resident.WORKER_COMMAND,
) -> None:
    """Serve until a signal. Raises PixtralError if the port is taken, and what the first loading of the model raises.

    Until the model is loaded, `loading` is called about ten times a second with the percentage of the weights that is
    read, the seconds since the start and the engine's current step; then `ready` is called with the URL.
    """
    rules = options.rules()
    _log_to_stderr()
    with bind(options.host, options.port) as listening:
        _stop_idle_worker(spec, folder)
        socket = folder / f"{spec.key}-{listening.getsockname()[1]}.sock"
        client = resident.connect_client(socket, read_timeout=STATUS_TIMEOUT)
        status = _WorkerStatus(client)
        supervisor = WorkerSupervisor(
            lambda: resident.spawn_worker(spec, socket, attached=True, command=command), status.is_ready
        )
        service = ServiceOptions(
            model=spec.name,
            aliases=[name for name in ALIASES if name != spec.name],
            rules=rules,
            defaults=defaults,
            load=make_image_loader(
                urls=options.image_urls, allow_private=options.allow_private, all_formats=options.all_formats
            ),
            running=options.running,
            waiting=options.waiting,
            window=lambda: supervisor.window,
            alive=lambda: supervisor.alive,
            deaths=lambda: supervisor.deaths,
            size=sum(file.stat().st_size for file in Path(spec.folder).glob("*.safetensors")),
            replicas=lambda: status.replicas,
            caches=lambda: resident.cache_sizes(client),
        )
        app = create_app(resident.connect_engine(socket, spec.name), service)
        host = f"[{options.host}]" if ":" in options.host else options.host
        announce = _StartupReporter(supervisor, f"http://{host}:{listening.getsockname()[1]}", loading, ready)
        supervisor.start()
        try:
            serve(app, listening, announce)
        finally:
            supervisor.stop()
            socket.unlink(missing_ok=True)  # left by a worker that was killed
        if supervisor.error:
            raise supervisor.error


class _WorkerStatus:
    """Requests the status of the worker; `replicas` is the state of its replicas at the last request."""

    def __init__(self, client: ApiClient) -> None:
        self.replicas: list[dict[str, Any]] = []
        self._client = client

    def is_ready(self) -> bool:
        """Whether the worker replies and its engine is ready."""
        try:
            status = self._client.get("/status")
        except PixtralError:
            self.replicas = []
            return False
        self.replicas = status.get("replicas", [])
        return bool(status.get("ready", True))


class _StartupReporter:
    """Called at every tick of the server: reports the loading, then readiness; stops the server if loading failed."""

    def __init__(
        self,
        supervisor: WorkerSupervisor,
        url: str,
        loading: Callable[[int, float, str], None],
        ready: Callable[[str], None],
    ) -> None:
        self._supervisor = supervisor
        self._url = url
        self._loading = loading
        self._ready: Callable[[str], None] | None = ready
        self._began = time.monotonic()
        loading(0, 0.0, "")

    def __call__(self, server: HttpServer) -> None:
        if self._supervisor.error:
            server.should_exit = True
        elif self._ready and self._supervisor.alive:
            self._ready(self._url)
            self._ready = None
        elif self._ready:
            self._loading(self._supervisor.loaded, time.monotonic() - self._began, self._supervisor.doing)


def _stop_idle_worker(spec: resident.ModelSpec, folder: Path) -> None:
    """Stop the resident worker with the same model, if there is one: two would need the memory twice."""
    for socket, status in resident.running_workers(folder, spec.key):
        if status.get("owner") is None:
            resident.stop_worker(socket, status)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("pixtral: %(message)s"))
    logging.getLogger("pixtral").addHandler(handler)
