"""The worker process: loads a model, then serves it on a Unix socket to its owner. Started by `engines.resident`."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from pixtral_cli import __version__
from pixtral_cli.chat.engine import CachingEngine, Engine, LoadableEngine, PlacedEngine, ReplicatedEngine
from pixtral_cli.chat.message import user
from pixtral_cli.errors import PixtralError
from pixtral_cli.util.memory import release_freed_memory

MAX_WAITING = 64
RELEASE_AFTER = 1.0  # seconds of idling after which freed memory is returned to the system
MAX_BODY = 1_000_000_000  # bytes: as many images as a context window can hold


def main() -> None:
    """`python -m pixtral_cli.server.worker CONFIG`, CONFIG being JSON. Lines of JSON on stdout report the progress of
    loading, then the context window or the error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    config = json.loads(sys.argv[1])
    with os.fdopen(os.dup(1), "w") as report:
        os.dup2(2, 1)  # libraries that print must not write into the report
        load_and_serve(config, _open_engine(config), report)


def _open_engine(config: dict[str, Any]) -> Engine:
    from pixtral_cli.engines.factory import open_engine
    from pixtral_cli.engines.options import EngineOptions

    folder, vllm = Path(config["folder"]), None
    if config["vllm"]:
        from pixtral_cli.engines.vllm.command import VllmOptions

        vllm = VllmOptions(**{**config["vllm"], "arguments": tuple(config["vllm"]["arguments"])})
    cache = Path(config["cache"]) if config["cache"] else None
    options = EngineOptions(config["engine"], config["device"], config["dtype"], config["quantize"], cache, vllm)
    return open_engine(options, folder, name=config["name"], note=_print_note)


def _print_note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def load_and_serve(config: dict[str, Any], engine: Engine, report: IO[str]) -> None:
    """Load the model and serve it until SIGTERM, until it was idle for `keep_alive` seconds, or until the owner ends."""
    socket = Path(config["socket"])
    if config["owner"]:
        threading.Thread(target=_stop_with_owner, daemon=True).start()
    try:
        window = _load(engine, report)
        listening, app = _create_app(config, engine, window, socket)
    except PixtralError as error:
        _report(report, error=type(error).__name__, message=error.message, hint=error.hint)
        sys.exit(error.status)
    _report(report, window=window)
    report.close()
    inode = socket.stat().st_ino
    try:
        _serve(app, listening, config)
    finally:
        engine.close()
        if socket.exists() and socket.stat().st_ino == inode:
            socket.unlink()


def _load(engine: Engine, report: IO[str]) -> int:
    """Load the weights, reporting each percent and each step; returns the context window in tokens."""
    if isinstance(engine, LoadableEngine):
        reported = 0, ""

        def report_progress() -> None:
            nonlocal reported
            if (now := (int(100 * engine.loaded), engine.doing)) != reported:
                reported = now
                _report(report, loaded=now[0], doing=now[1])

        engine.load(report_progress)
    return engine.measure((user("."),)).context_window


def _create_app(config: dict[str, Any], engine: Engine, window: int, socket: Path) -> tuple[Any, Any]:
    from pixtral_cli.server.app import create_app
    from pixtral_cli.server.http.listener import bind_unix
    from pixtral_cli.server.openai.requests import make_image_loader
    from pixtral_cli.server.service import ServiceOptions

    status = {key: config[key] for key in ("name", "folder", "device", "dtype", "quantize", "owner")}
    status |= {"version": __version__, "pid": os.getpid(), "stop": config["owner"] or os.getpid(), "since": time.time()}
    service = ServiceOptions(
        model=config["name"],
        load=make_image_loader(urls=False),
        running=config["running"],
        waiting=MAX_WAITING,
        body_limit=MAX_BODY,
        bodies_limit=4 * MAX_BODY,
        trusted=True,
        window=lambda: window,
        status=lambda: {
            **status,
            "keep_alive": config["keep_alive"],
            "caches": _cache_sizes(engine),
            "runs_on": engine.device if isinstance(engine, PlacedEngine) else config["device"],
            **_replicas(engine),
        },
        set_keep_alive=None if config["owner"] else lambda seconds: config.update(keep_alive=seconds),
    )
    return bind_unix(socket), create_app(engine, service)


def _replicas(engine: Engine) -> dict[str, Any]:
    """The status fields of an engine with replicas: whether it is ready, and the state of each replica."""
    return {"ready": engine.ready, "replicas": engine.status()} if isinstance(engine, ReplicatedEngine) else {}


def _cache_sizes(engine: Engine) -> dict[str, list[int]]:
    """Size and limit of each cache of the engine, in bytes."""
    use = engine.cache_use() if isinstance(engine, CachingEngine) else {}
    return {name: [cache.size, cache.limit] for name, cache in use.items()}


def _serve(app: Any, listening: Any, config: dict[str, Any]) -> None:
    """Serve until no request was handled for `keep_alive` seconds, which clients may change meanwhile.

    Many answers at once leave heaps with gaps: a second after the last of them the process returns what it has freed.
    """
    from pixtral_cli.server.http.listener import HttpServer, serve

    queue, released = app.state.queue, time.monotonic()

    def when_idle(server: HttpServer) -> None:
        nonlocal released
        limit, idle = config["keep_alive"], time.monotonic() - queue.idle_since
        if queue.pending:
            return
        if limit is not None and idle > limit:
            server.should_exit = True
        if idle > RELEASE_AFTER and released < queue.idle_since:
            released = time.monotonic()
            release_freed_memory()

    serve(app, listening, when_idle)


def _stop_with_owner() -> None:
    """End this process when stdin is closed: its other end is open as long as the owner lives."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _report(report: IO[str], **fields: Any) -> None:
    print(json.dumps(fields), file=report, flush=True)


if __name__ == "__main__":
    main()
