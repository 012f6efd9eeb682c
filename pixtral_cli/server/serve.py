"""`pixtral serve`: the application in front of the engine's process, from the bound port to the last answer."""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.engines import resident
from pixtral_cli.errors import UsageError
from pixtral_cli.server.app import ServiceOptions, create_app
from pixtral_cli.server.http.access import LOOPBACK, AccessRules
from pixtral_cli.server.http.listener import HttpServer, bind, serve
from pixtral_cli.server.openai.requests import make_image_loader
from pixtral_cli.server.supervisor import WorkerSupervisor

ALIASES = ("pixtral-12b-2409",)
STATUS_TIMEOUT = 10.0  # seconds in which the engine's process says how it is
ANY_ADDRESS = ("0.0.0.0", "::", "")


@dataclass(frozen=True)
class ServeOptions:
    """Where to listen, whom to let in, and how much at a time."""

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    allowed_hosts: Sequence[str] = ()
    image_urls: bool = True
    allow_private: bool = False
    running: int = 4
    waiting: int = 16

    @property
    def local(self) -> bool:
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def rules(self) -> AccessRules:
        """Who is let in. Raises UsageError when strangers could come in without a key."""
        if not self.local and not self.api_key:
            hint = "Set one: PIXTRAL_API_KEY=… pixtral serve, or listen on 127.0.0.1"
            raise UsageError(f"Listening on {self.host or 'every address'} needs an API key", hint)
        own = f"[{self.host}]" if ":" in self.host else self.host
        names = {*LOOPBACK, own.lower(), *(host.lower() for host in self.allowed_hosts)}
        return AccessRules(frozenset(names), self.host in ANY_ADDRESS, self.api_key)


def run(
    front: ServeOptions,
    what: resident.ModelSpec,
    folder: Path,
    defaults: Sampling,
    *,
    loading: Callable[[int, float, str], None] = lambda percent, seconds, doing: None,
    ready: Callable[[str], None] = lambda url: None,
    command: Sequence[str] = resident.WORKER_COMMAND,
) -> None:
    """Serve until a signal. Raises what the first loading of the model raises, and PixtralError if the port is taken.

    `loading` is called at once, and often until the model is loaded, with percent, seconds and what the
    engine says it does; `ready` with the address then.
    """
    rules = front.rules()
    _log_to_stderr()
    with bind(front.host, front.port) as listening:
        _stop_idle_worker(what, folder)
        socket = folder / f"{what.key}-{listening.getsockname()[1]}.sock"
        asked = resident.connect_client(socket, patience=STATUS_TIMEOUT)
        child = WorkerSupervisor(
            lambda: resident.spawn_worker(what, socket, attached=True, command=command),
            lambda: resident.is_responding(asked),
        )
        service = ServiceOptions(
            model=what.name,
            aliases=[name for name in ALIASES if name != what.name],
            rules=rules,
            defaults=defaults,
            load=make_image_loader(urls=front.image_urls, allow_private=front.allow_private),
            running=front.running,
            waiting=front.waiting,
            window=lambda: child.window,
            alive=lambda: child.alive,
            deaths=lambda: child.deaths,
        )
        app = create_app(resident.connect_engine(socket, what.name), service)
        host = f"[{front.host}]" if ":" in front.host else front.host
        announce = _StartupReporter(child, f"http://{host}:{listening.getsockname()[1]}", loading, ready)
        child.start()
        try:
            serve(app, listening, announce)
        finally:
            child.stop()
            socket.unlink(missing_ok=True)  # of one that was killed
        if child.error:
            raise child.error


class _StartupReporter:
    """Tells that the model is being loaded, once that it is, and ends the server if it cannot be."""

    def __init__(
        self,
        child: WorkerSupervisor,
        url: str,
        loading: Callable[[int, float, str], None],
        ready: Callable[[str], None],
    ) -> None:
        self._child = child
        self._url = url
        self._loading = loading
        self._ready: Callable[[str], None] | None = ready
        self._began = time.monotonic()
        loading(0, 0.0, "")

    def __call__(self, server: HttpServer) -> None:
        if self._child.error:
            server.should_exit = True
        elif self._ready and self._child.alive:
            self._ready(self._url)
            self._ready = None
        elif self._ready:
            self._loading(self._child.loaded, time.monotonic() - self._began, self._child.doing)


def _stop_idle_worker(what: resident.ModelSpec, folder: Path) -> None:
    """A resident process for the same model would take its memory twice: let it finish and go."""
    for socket, status in resident.running_workers(folder, what.key):
        if status.get("owner") is None:
            resident.stop_worker(socket, status)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("pixtral: %(message)s"))
    logging.getLogger("pixtral").addHandler(handler)
