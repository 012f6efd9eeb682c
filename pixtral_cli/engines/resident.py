"""The process that keeps a model for others: finding one, starting one, stopping one. What it runs is `server.resident`."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pixtral_cli import __version__, errors
from pixtral_cli.chat.engine import Chunk, Cost, Engine, Sampling, engine_versions
from pixtral_cli.chat.message import Message
from pixtral_cli.engines.options import EngineOptions
from pixtral_cli.engines.remote.client import ApiClient, Cancellation
from pixtral_cli.engines.remote.engine import AnswerStream, RemoteEngine
from pixtral_cli.engines.remote.errors import Endpoint, QueueFull, Unreachable
from pixtral_cli.errors import ModelError, NetworkError, PixtralError
from pixtral_cli.models.names import Model

if TYPE_CHECKING:
    from pixtral_cli.engines.vllm.command import VllmOptions

WORKER_COMMAND = (sys.executable, "-P", "-m", "pixtral_cli.server.worker")
MAX_SOCKET_PATH = 100  # bytes; the name of a Unix socket has 104 on some systems
STOP_TIMEOUT = 35.0  # seconds after which a process that was asked to stop_worker has stopped
STATUS_TIMEOUT = 10.0  # seconds in which a process that is there says so


@dataclass(frozen=True)
class ModelSpec:
    """What a resident process is asked to keep. `keep_alive`: seconds of idling after which it leaves."""

    name: str
    folder: str
    device: str = "auto"
    dtype: str = "auto"
    quantize: str = "auto"
    cache: str | None = None
    keep_alive: float | None = None
    running: int = 4
    engine: str = "local"
    launch: "VllmOptions | None" = None

    @property
    def key(self) -> str:
        """Equal for processes that may stand in for one another."""
        launch = asdict(self.launch) if self.launch else None
        same = json.dumps([__version__, self.folder, self.device, self.dtype, self.quantize, self.engine, launch])
        return hashlib.sha256(same.encode()).hexdigest()[:16]


def model_spec(model: Model, options: EngineOptions, *, keep_alive: float | None = None, running: int = 4) -> ModelSpec:
    """What to ask of a process for this model. `keep_alive`: seconds of idling after which it ends."""
    return ModelSpec(
        model.name, str(model.folder.resolve()), options.device, options.dtype, options.quantize,
        str(options.cache) if options.cache else None, keep_alive, running, options.kind, options.launch,
    )  # fmt: skip


def socket_folder(state: Path) -> Path:
    """The folder of the sockets, which its owner alone can enter. Raises PixtralError when it isn't so."""
    folder = state / "run"
    if len(os.fsencode(folder)) + 40 > MAX_SOCKET_PATH:
        short = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
        folder = Path(tempfile.gettempdir()) / f"pixtral-{os.getuid()}-{short}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if status.st_uid != os.getuid() or not folder.is_dir() or folder.is_symlink():
            raise PixtralError(f"{folder} belongs to somebody else", "Remove it, or set PIXTRAL_HOME")
        folder.chmod(0o700)
    except OSError as error:
        raise PixtralError(
            f"{folder} cannot be used: {error.strerror}", "Set PIXTRAL_HOME to another folder"
        ) from error
    return folder


def connect_client(socket: Path, *, patience: float | None = None) -> ApiClient:
    """To the process behind a socket. Without `patience` there is no time limit: a process that dies closes it."""
    return ApiClient(Endpoint("http://localhost/v1", socket=socket), patience=patience)


def is_responding(asked: ApiClient) -> bool:
    """Whether the process behind a link answers in the time the link has patience for."""
    try:
        asked.get("/status")
    except PixtralError:
        return False
    return True


def connect_engine(socket: Path, model: str) -> RemoteEngine:
    """The engine of the process behind a socket, which calls its model so."""
    return RemoteEngine(connect_client(socket), model, originals=True)


def running_workers(folder: Path, key: str = "") -> Iterator[tuple[Path, dict[str, Any]]]:
    """The processes that answer, each with what it says of itself. Sockets of those that are gone are removed."""
    for socket in sorted(folder.glob(f"{key}*.sock")):
        asked = connect_client(socket, patience=STATUS_TIMEOUT)
        try:
            yield socket, asked.get("/status")
        except Unreachable:
            socket.unlink(missing_ok=True)
        except PixtralError:
            continue
        finally:
            asked.close()


def find_worker(what: ModelSpec, folder: Path) -> RemoteEngine | None:
    """The engine of a running process for this model, device, dtype and quantization."""
    return next((connect_engine(socket, status["name"]) for socket, status in running_workers(folder, what.key)), None)


ProgressCallback: TypeAlias = Callable[
    [int, str], None
]  # percent of the weights that are loaded, and what the engine says it does


def find_or_start_if_possible(
    what: ModelSpec, state: Path, told: ProgressCallback = lambda percent, doing: None
) -> RemoteEngine | None:
    """`find_or_start` in the room there. A home that cannot hold one holds no process: an error only if one is wanted."""
    try:
        folder = socket_folder(state)
    except PixtralError:
        if what.keep_alive is None:
            return None
        raise
    return find_or_start(what, folder, told=told)


def find_or_start(
    what: ModelSpec,
    folder: Path,
    *,
    told: ProgressCallback = lambda percent, doing: None,
    command: Sequence[str] = WORKER_COMMAND,
) -> RemoteEngine | None:
    """The engine of a process for this model; started when `keep_alive` asks for one, else None if there is none.

    `told` hears how far the process that is started has come. Raises what loading the model raises.
    """
    if found := find_worker(what, folder):
        return found
    if what.keep_alive is None:
        return None
    with _start_lock(folder / f"{what.key}.lock"):
        if found := find_worker(what, folder):
            return found
        socket = folder / f"{what.key}.sock"
        log = folder / f"{what.key}.log"
        with log.open("wb") as stderr:
            process = spawn_worker(what, socket, stderr=stderr.fileno(), command=command)
        process.detach(log, told)
        return connect_engine(socket, what.name)


@contextlib.contextmanager
def _start_lock(file: Path) -> Iterator[None]:
    """One starts, the others wait for it."""
    import fcntl

    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


class WorkerProcess:
    """A process that was started to keep a model, until its model is loaded and after."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.loaded, self.doing = 0, ""  # percent of the weights, and what its engine says; `ready` keeps them true
        self._process = process

    def ready(self, log: Path | None = None, told: ProgressCallback = lambda percent, doing: None) -> dict[str, Any]:
        """Wait until the model is loaded; what the process then says. Raises what loading raised there."""
        while "loaded" in (said := self._said(log)):
            self.loaded, self.doing = said["loaded"], said.get("doing", "")
            told(self.loaded, self.doing)
        if kind := said.get("error"):
            self._process.wait()
            raise getattr(errors, kind, PixtralError)(said["message"], said["hint"])
        return said

    def _said(self, log: Path | None) -> dict[str, Any]:
        """The next line. Raises ModelError when the process has ended."""
        assert self._process.stdout
        try:
            said = json.loads(self._process.stdout.readline())
        except ValueError:
            status = self._process.wait()
            why = f"killed by signal {-status}" if status < 0 else f"status {status}"
            hint = f"See {log}" if log else ""
            raise ModelError(f"The process that loads the model ended: {why}", hint) from None
        assert isinstance(said, dict)
        return said

    def detach(self, log: Path, told: ProgressCallback = lambda percent, doing: None) -> None:
        """Wait until it's ready and leave it to itself; interrupted before that, it ends."""
        try:
            self.ready(log, told)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        assert self._process.stdout
        self._process.stdout.close()
        self._process.returncode = 0  # it outlives us: nothing is to be waited for

    def wait(self, seconds: float) -> int | None:
        """Until it has ended, or so many seconds; its status, or None."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def end(self, seconds: float = STOP_TIMEOUT) -> None:
        """Let it finish what it computes, within so many seconds."""
        if self._process.stdin:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        self._process.kill()


def spawn_worker(
    what: ModelSpec,
    socket: Path,
    *,
    attached: bool = False,
    stderr: int | None = None,
    command: Sequence[str] = WORKER_COMMAND,
) -> WorkerProcess:
    """Start a process that listens on `socket` once its model is loaded. An `attached` one ends with this process."""
    order = {**asdict(what), "socket": str(socket), "owner": os.getpid() if attached else None}
    process = subprocess.Popen(
        [*command, json.dumps(order)],
        stdin=subprocess.PIPE if attached else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,  # Ctrl-C is meant for us
    )
    return WorkerProcess(process)


def stop_worker(socket: Path, status: dict[str, Any], seconds: float = STOP_TIMEOUT) -> None:
    """End a process: it finishes what it computes. Raises PixtralError when it doesn't within so many seconds."""
    pid = int(status["stop"])
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + seconds
    while socket.exists():
        if time.monotonic() > end:
            raise PixtralError(f"Process {pid} does not stop", f"kill -9 {pid}")
        time.sleep(0.05)


class _ForwardedCancellation(Cancellation):
    """Ends an answer that another engine's answer is passed on as."""

    def __init__(self) -> None:
        super().__init__()
        self._inner: Any = None

    @contextlib.contextmanager
    def through(self, inner: Any) -> Iterator[Iterator[Chunk]]:
        """The chunks of `inner`, which is closed at the end of the block, or from now on by `cut`."""
        self._inner = inner
        with contextlib.closing(inner):
            yield iter(()) if self.done.is_set() else inner

    def cut(self) -> None:
        super().cut()
        if self._inner:
            with contextlib.suppress(ValueError):  # a generator that runs just now
                self._inner.close()


class ResidentEngine:
    """A resident process's engine. When the process has gone, says so by `note` and answers with `otherwise` instead.

    One that is there but full is asked again until it has room.
    """

    def __init__(self, remote: RemoteEngine, otherwise: Callable[[], Engine], note: Callable[[str], None]) -> None:
        self._remote = remote
        self._engine: Engine = remote
        self._otherwise: Callable[[], Engine] | None = otherwise
        self._note = note
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> AnswerStream:
        """See `Engine`. An answer that has begun is not begun again; any thread may close one."""
        cut = _ForwardedCancellation()
        return AnswerStream(self._answer(messages, sampling, cut), cut)

    def _answer(
        self, messages: Sequence[Message], sampling: Sampling, cut: _ForwardedCancellation
    ) -> Generator[Chunk, None, None]:
        while True:
            engine, begun = self._engine, False
            try:
                with cut.through(engine.stream(messages, sampling)) as chunks:
                    for chunk in chunks:
                        begun = True
                        yield chunk
                return
            except NetworkError as error:
                if begun or cut.done.is_set() or not self._worth_another(error, engine, cut.done):
                    raise

    def measure(self, messages: Sequence[Message]) -> Cost:
        """See `Engine`."""
        while True:
            engine = self._engine
            try:
                return engine.measure(messages)
            except NetworkError as error:
                if not self._worth_another(error, engine, self._closed):
                    raise

    def versions(self) -> dict[str, str]:
        """What that process says it runs."""
        return engine_versions(self._engine)

    def _worth_another(self, error: NetworkError, failed: Engine, unwanted: threading.Event) -> bool:
        """Whether to ask again: the process once it may have room, or what answers in its place."""
        if isinstance(error, QueueFull):
            return not unwanted.wait(error.after) and not self._closed.is_set()
        return self._replaced(failed)

    def _replaced(self, failed: Engine) -> bool:
        """Whether another engine answers now. Many threads may find the process gone; one of them replaces it."""
        with self._lock:
            if self._engine is not failed:
                return True
            if self._otherwise is None or self._closed.is_set() or self._alive():
                return False
            self._note("The resident process has gone; loading the model here.")
            self._engine, self._otherwise = self._otherwise(), None
            return True

    def _alive(self) -> bool:
        with contextlib.closing(ApiClient(self._remote.server, patience=STATUS_TIMEOUT)) as asked:
            return is_responding(asked)

    def close(self) -> None:
        self._closed.set()
        self._remote.close()  # not before: other threads may be using it when it is replaced
        if self._engine is not self._remote:
            self._engine.close()
