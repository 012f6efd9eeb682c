"""A hub for tests: speaks as much of the Hugging Face hub's protocol as its client asks for, and misbehaves on request.

Serve files with `FakeHub({"org/name": {"main": files}})`; let it misbehave with `hub.faults[file name] = [Fault, …]` (each
request for that file takes the next one, `Forever` the same for all) and read what was asked in `hub.log`.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

Files = Mapping[str, bytes]
LFS_FROM = 100_000  # bytes: larger files are listed with a SHA-256, smaller ones with git's hash


@dataclass
class Fault:
    """How one request goes wrong.

    `status` and `headers` refuse it; `body` replaces the file's bytes; after `cut` bytes the connection closes; at `gate`
    bytes the server sets `reached` and goes on when `open` is set; `piece` bytes are sent at a time, with `pause` seconds
    between; `ranges` False ignores Range.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    cut: int | None = None
    gate: int | None = None
    piece: int = 1 << 16
    pause: float = 0.0
    ranges: bool = True
    reached: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)


class Forever(list[Fault]):
    """The same fault for every request."""

    def pop(self, index: object = 0) -> Fault:
        return self[0]


@dataclass
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    start: int = 0
    sent: int = 0

    @property
    def file(self) -> str:
        return self.path.rsplit("/", 1)[-1]


def gated(status: int) -> Fault:
    """What the hub says of a gated repository's file: 401 without a token, 403 with one that has no access."""
    return Fault(status, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted."})


class FakeHub:
    """A server on a free port of this machine; a context manager. `tokens`: when not empty, files want one of them."""

    def __init__(self, repos: Mapping[str, Mapping[str, Files]]) -> None:
        self.repos = repos
        self.faults: dict[str, list[Fault]] = {}
        self.log: list[Request] = []
        self.latency = 0.0  # seconds before each answer
        hub = self

        class Handler(_Handler):
            fake = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> "FakeHub":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for faults in self.faults.values():
            for fault in faults:
                fault.open.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def gets(self, name: str | None = None) -> list[Request]:
        """The requests for files' bytes so far, of one file or of all."""
        found = [one for one in self.log if one.method == "GET" and "/resolve/" in one.path]
        return [one for one in found if name in (None, one.file)]

    def sent(self, name: str) -> int:
        """How many bytes of a file have been served in all."""
        return sum(one.sent for one in self.gets(name))


def commit(files: Files) -> str:
    """The commit of a revision: made of its content."""
    return hashlib.sha1(b"".join(name.encode() + git_hash(files[name]).encode() for name in sorted(files))).hexdigest()


@lru_cache(maxsize=64)
def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@lru_cache(maxsize=64)
def digest(data: bytes) -> str:
    """The ETag of a file: its SHA-256 if it is large, else git's hash."""
    return hashlib.sha256(data).hexdigest() if len(data) >= LFS_FROM else git_hash(data)


def model_files(folder: Path) -> dict[str, bytes]:
    """A model's own files, as a hub holds them: without the checksums that a package adds."""
    files = (file for file in sorted(folder.iterdir()) if file.is_file() and file.name != "SHA256SUMS")
    return {file.name: file.read_bytes() for file in files}


class _Handler(BaseHTTPRequestHandler):
    fake: FakeHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        try:
            self._route()
        except OSError:  # the client has gone, or was killed
            self.close_connection = True

    do_HEAD = do_GET

    def _route(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.request_ = Request(self.command, path, dict(self.headers.items()))
        self.fake.log.append(self.request_)
        time.sleep(self.fake.latency)
        for pattern, answer in (
            (r"/api/models/([^/]+/[^/]+)/(?:revision|tree)/(.+)", self._listing),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._file),
        ):
            if found := re.fullmatch(pattern, path):
                answer(*found.groups())
                return
        self._say(404, b'{"error": "Not Found"}')

    def _revision(self, repo: str, revision: str) -> Files | None:
        """The files of a revision; refuses what is not there, in the hub's way."""
        if repo not in self.fake.repos:
            self._say(401, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
            return None
        revisions = self.fake.repos[repo]
        files = revisions.get(revision) or next((some for some in revisions.values() if commit(some) == revision), None)
        if files is None:
            self._say(404, b'{"error": "Invalid rev id"}', {"X-Error-Code": "RevisionNotFound"})
        return files

    def _listing(self, repo: str, revision: str) -> None:
        if faults := self.fake.faults.get("api"):
            fault = faults.pop(0)
            fault.reached.set()
            if fault.gate is not None:
                fault.open.wait(240)
            self._say(fault.status, fault.body or b'{"error": "no"}', fault.headers)
            return
        files = self._revision(repo, revision)
        if files is None:
            return
        if "/tree/" in self.path:
            listed = [self._entry(name, data, "path", "oid", "sha256") for name, data in files.items()]
            answer: object = [entry | {"type": "file"} for entry in listed]
        else:
            siblings = [self._entry(name, data, "rfilename", "blobId", "sha256") for name, data in files.items()]
            answer = {"id": repo, "modelId": repo, "sha": commit(files), "siblings": siblings}
        self._say(200, json.dumps(answer).encode())

    def _entry(self, name: str, data: bytes, called: str, blob: str, sha: str) -> dict[str, object]:
        entry: dict[str, object] = {called: name, "size": len(data), blob: git_hash(data)}
        if len(data) >= LFS_FROM:
            lfs = {"oid": digest(data), "sha256": digest(data), "size": len(data), "pointerSize": 134}
            entry["lfs"] = lfs
        return entry

    def _file(self, repo: str, revision: str, name: str) -> None:
        files = self._revision(repo, revision)
        if files is None:
            return
        if name not in files:
            self._say(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit(files)})
            return
        waiting = self.fake.faults.get(name) if self.command == "GET" else None
        fault = waiting.pop(0) if waiting else Fault()
        if fault.status != 200:
            self._say(fault.status, b'{"error": "no"}', fault.headers)
            return
        etag = digest(files[name])
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit(files), "Accept-Ranges": "bytes"}
        if len(files[name]) >= LFS_FROM:
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(files[name]))}
        self._send(files[name] if fault.body is None else fault.body, fault, headers)

    def _send(self, data: bytes, fault: Fault, headers: Mapping[str, str]) -> None:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(found[1]) if found and fault.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.request_.start = start
        for key, value in {**headers, "Content-Length": str(len(data) - start)}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self._body(memoryview(data), start, fault)

    def _body(self, data: memoryview, at: int, fault: Fault) -> None:
        stops = {stop for stop in (fault.cut, fault.gate) if stop is not None}
        while True:
            if fault.gate is not None and at >= fault.gate and not fault.reached.is_set():
                fault.reached.set()
                fault.open.wait(240)
            if at >= len(data) or (fault.cut is not None and at >= fault.cut):
                break
            end = min([at + fault.piece, len(data), *(stop for stop in stops if stop > at)])
            self.wfile.write(data[at:end])
            self.request_.sent += end - at
            at = end
            if fault.pause:
                threading.Event().wait(fault.pause)
        self.close_connection = at < len(data) or self.close_connection

    def _say(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for something in another process that sets no event: a file's size."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        threading.Event().wait(0.01)


def environment(hub: FakeHub, **more: str) -> dict[str, str]:
    """This process's environment with that hub in it, and nothing of ours that would change what is tested."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_HUB_", "PIXTRAL_DEBUG"))}
    return {**kept, "HF_ENDPOINT": hub.url, **more}


def pixtral(hub: FakeHub, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """One command line of pixtral, with that hub."""
    return subprocess.run(
        [sys.executable, "-m", "pixtral_cli", *args],
        env=environment(hub, **env),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=240,
    )


@contextmanager
def running(hub: FakeHub, args: Sequence[str], **env: str) -> Iterator[subprocess.Popen[str]]:
    """A command line that is still at work; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pixtral_cli", *args],
        env=environment(hub, **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
