"""Finds, starts and stops worker processes, which keep a model in memory and run `server.worker`."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pixtral_cli import __version__, errors
from pixtral_cli.engines.options import EngineOptions
from pixtral_cli.engines.remote.client import ApiClient
from pixtral_cli.engines.remote.engine import RemoteEngine
from pixtral_cli.engines.remote.errors import Endpoint, NotListening
from pixtral_cli.errors import ModelError, PixtralError
from pixtral_cli.models.names import Model

if TYPE_CHECKING:
    from pixtral_cli.engines.vllm.command import VllmOptions

WORKER_COMMAND = (sys.executable, "-P", "-m", "pixtral_cli.server.worker")
MAX_SOCKET_PATH = 100  # bytes; some systems allow 104 for the path of a Unix socket
STOP_TIMEOUT = 35.0  # seconds for a worker to finish its answers
STATUS_TIMEOUT = 10.0  # seconds for a worker to report its status


@dataclass(frozen=True)
class ModelSpec:
    """The model that a worker loads, and how.

    `keep_alive`: seconds of idling after which it ends; None: do not start one. `running`: answers computed at a time.
    """

    name: str
    folder: str
    device: str = "auto"
    dtype: str = "auto"
    quantize: str = "auto"
    cache: str | None = None
    keep_alive: float | None = None
    running: int = 4
    engine: str = "local"
    vllm: "VllmOptions | None" = None

    @property
    def key(self) -> str:
        """A digest that is equal for interchangeable workers."""
        vllm = asdict(self.vllm) if self.vllm else None
        identity = json.dumps([__version__, self.folder, self.device, self.dtype, self.quantize, self.engine, vllm])
        return hashlib.sha256(identity.encode()).hexdigest()[:16]


def model_spec(model: Model, options: EngineOptions, *, keep_alive: float | None = None, running: int = 4) -> ModelSpec:
    """The spec of a worker for this model. `keep_alive`: seconds of idling after which it ends."""
    return ModelSpec(
        model.name, str(model.folder.resolve()), options.device, options.dtype, options.quantize,
        str(options.cache) if options.cache else None, keep_alive, running, options.kind, options.vllm,
    )  # fmt: skip


def supports_workers() -> bool:
    """Whether this system has Unix sockets with owners, which workers listen on."""
    return hasattr(os, "getuid")


def socket_folder(state: Path) -> Path:
    """The folder of the workers' sockets, mode 0700.

    Raises PixtralError when it cannot be used or belongs to another user.
    """
    if not supports_workers():
        raise PixtralError("This system has no Unix sockets for a model that is kept in memory", "Use pixtral in WSL")
    folder = state / "run"
    if len(os.fsencode(folder)) + 40 > MAX_SOCKET_PATH:
        short = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
        folder = Path(tempfile.gettempdir()) / f"pixtral-{os.getuid()}-{short}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if status.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
            raise PixtralError(f"{folder} belongs to another user", "Remove it, or set PIXTRAL_HOME")
        folder.chmod(0o700)
    except OSError as error:
        raise PixtralError(
            f"{folder} cannot be used: {error.strerror}", "Set PIXTRAL_HOME to another folder"
        ) from error
    return folder


def connect_client(socket: Path, *, read_timeout: float | None = None) -> ApiClient:
    """A client of the worker behind a socket. Without `read_timeout` it waits as long as the worker lives."""
    return ApiClient(Endpoint("http://localhost/v1", socket=socket), read_timeout=read_timeout)


def is_responding(client: ApiClient) -> bool:
    """Whether the worker replies within the client's read time-out."""
    try:
        client.get("/status")
    except PixtralError:
        return False
    return True


def cache_sizes(client: ApiClient) -> dict[str, list[int]]:
    """The bytes and the limit of each cache of a worker, by name; empty while it does not answer."""
    try:
        sizes: dict[str, list[int]] = client.get("/status").get("caches", {})
    except PixtralError:
        return {}
    return sizes


def connect_engine(socket: Path, model: str) -> RemoteEngine:
    """The engine of the worker behind a socket; `model` is the name it serves."""
    return RemoteEngine(connect_client(socket), model, sends_attachments=True)


def running_workers(folder: Path, key: str = "") -> Iterator[tuple[Path, dict[str, Any]]]:
    """The sockets and the status of the workers that answer. `key`: only interchangeable ones. Removes stale sockets."""
    for socket in sorted(folder.glob(f"{key}*.sock")):
        client = connect_client(socket, read_timeout=STATUS_TIMEOUT)
        try:
            yield socket, client.get("/status")
        except NotListening:  # not raised for a suspended process, which still listens
            socket.unlink(missing_ok=True)
        except PixtralError:
            continue
        finally:
            client.close()


def set_keep_alive(socket: Path, seconds: float) -> None:
    """Let a worker end after `seconds` of idling; 0: as soon as it is idle.

    It has no effect on a worker of `pixtral serve`.
    """
    client = connect_client(socket, read_timeout=STATUS_TIMEOUT)
    with contextlib.closing(client), contextlib.suppress(PixtralError):  # it has ended, or it ends with its owner
        client.post("/keep_alive", {"seconds": seconds})


def find_worker(spec: ModelSpec, folder: Path) -> RemoteEngine | None:
    """The engine of a running worker with the same model, device, dtype and quantization; None if there is none."""
    return next((connect_engine(socket, status["name"]) for socket, status in running_workers(folder, spec.key)), None)


ProgressCallback: TypeAlias = Callable[[int, str], None]  # percent of the weights that is loaded, and the current step


def find_or_start_if_possible(
    spec: ModelSpec, state: Path, on_progress: ProgressCallback = lambda percent, doing: None
) -> RemoteEngine | None:
    """`find_or_start` in the socket folder; None where the folder cannot be used and no worker is to be started."""
    try:
        folder = socket_folder(state)
    except PixtralError:
        if spec.keep_alive is None:
            return None
        raise
    return find_or_start(spec, folder, on_progress=on_progress)


def find_or_start(
    spec: ModelSpec,
    folder: Path,
    *,
    on_progress: ProgressCallback = lambda percent, doing: None,
    command: Sequence[str] = WORKER_COMMAND,
) -> RemoteEngine | None:
    """The engine of a running worker, else of one that is started if `spec.keep_alive` is set, else None.

    `on_progress` is called while a started worker loads. Raises the errors of loading the model.
    """
    if worker := find_worker(spec, folder):
        return worker
    if spec.keep_alive is None:
        return None
    with _start_lock(folder / f"{spec.key}.lock"):
        if worker := find_worker(spec, folder):
            return worker
        socket = folder / f"{spec.key}.sock"
        log = folder / f"{spec.key}.log"
        with log.open("wb") as stderr:
            process = spawn_worker(spec, socket, stderr=stderr.fileno(), command=command)
        process.detach(log, on_progress)
        return connect_engine(socket, spec.name)


@contextlib.contextmanager
def _start_lock(file: Path) -> Iterator[None]:
    """A file lock, with which one process starts the worker while others wait."""
    import fcntl

    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


class WorkerProcess:
    """A worker that this process has started."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.loaded, self.doing = 0, ""  # percent of the weights, and the current step; set by `wait_until_loaded`
        self._process = process

    def wait_until_loaded(
        self, log: Path | None = None, on_progress: ProgressCallback = lambda percent, doing: None
    ) -> dict[str, Any]:
        """Wait until the model is loaded; returns the worker's report. Raises the worker's error when loading fails."""
        while "loaded" in (report := self._next_report(log)):
            self.loaded, self.doing = report["loaded"], report.get("doing", "")
            on_progress(self.loaded, self.doing)
        if kind := report.get("error"):
            self._process.wait()
            raise getattr(errors, kind, PixtralError)(report["message"], report["hint"])
        return report

    def _next_report(self, log: Path | None) -> dict[str, Any]:
        """The next line of the worker's report. Raises ModelError when the worker has ended."""
        assert self._process.stdout
        try:
            report = json.loads(self._process.stdout.readline())
        except ValueError:
            status = self._process.wait()
            why = f"killed by signal {-status}" if status < 0 else f"status {status}"
            hint = f"See {log}" if log else ""
            raise ModelError(f"The process that loads the model ended: {why}", hint) from None
        assert isinstance(report, dict)
        return report

    def detach(self, log: Path, on_progress: ProgressCallback = lambda percent, doing: None) -> None:
        """Wait until it has loaded, then let it outlive this process. An interrupted wait kills it."""
        try:
            self.wait_until_loaded(log, on_progress)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        assert self._process.stdout
        self._process.stdout.close()
        self._process.returncode = 0  # so that Popen does not warn about a process that still runs

    def wait(self, seconds: float) -> int | None:
        """The exit status; None if the process still runs after this time."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self, seconds: float = STOP_TIMEOUT) -> None:
        """Ask the process to end, and kill it if it still runs after this time."""
        if self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """Kill the process without waiting for it."""
        self._process.kill()


def spawn_worker(
    spec: ModelSpec,
    socket: Path,
    *,
    attached: bool = False,
    stderr: int | None = None,
    command: Sequence[str] = WORKER_COMMAND,
) -> WorkerProcess:
    """Start a worker, which listens on `socket` when its model is loaded. `attached`: it ends with this process."""
    request = {**asdict(spec), "socket": str(socket), "owner": os.getpid() if attached else None}
    process = subprocess.Popen(
        [*command, json.dumps(request)],
        stdin=subprocess.PIPE if attached else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,  # Ctrl-C is for this process
    )
    return WorkerProcess(process)


def stop_worker(socket: Path, status: dict[str, Any], seconds: float = STOP_TIMEOUT) -> None:
    """Ask a worker to end and wait for it. Raises PixtralError when it still runs after this time."""
    pid = int(status["stop"])
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + seconds
    while socket.exists():
        if time.monotonic() > end:
            raise PixtralError(f"Process {pid} does not stop", f"kill -9 {pid}")
        time.sleep(0.05)
