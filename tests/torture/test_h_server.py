"""Torture H: what an attacker sends to the server."""

import contextlib
import json
import resource
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from pixtral_cli.engines import resident
from pixtral_cli.server.openai import conversation
from pixtral_cli.server.openai.requests import make_image_loader
from pixtral_cli.structured import schema_check
from tests.fakes import FakeEngine
from tests.server.processes import ROOT, until
from tests.server.serving import Running, data_url, picture, png, serving
from tests.work import at_most

ARRAYS = {
    "type": "object",
    "properties": {f"p{n}": {"type": "array", "items": {"type": "integer"}, "minItems": 100_000} for n in range(500)},
}
PATTERNS = {"type": "string", "allOf": [{"pattern": f"(a|b)*{'ab'[n % 2]}[ab]{{{n}}}c"} for n in range(20)]}
LEVELS = {
    f"a{n}": {
        "type": "object",
        "properties": {
            side: {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}, {"properties": {f"{side}{n}": {"type": "string"}}}]}
            for side in ("left", "right")
        },
    }
    for n in range(20)
}
DOUBLING = {"$ref": "#/$defs/a0", "$defs": {**LEVELS, "a20": {"type": "object"}}}
ENUM = {"$schema": "http://json-schema.org/draft-04/schema#", "enum": [{"a": n} if n % 2 else n for n in range(2500)]}
PLAIN = {"type": "object", "properties": {"name": {"type": "string"}, "price": {"type": "number"}}}


def held_to(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def memory() -> int:
    """Peak resident bytes of this process, in which the server runs."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("schema", [ARRAYS, PATTERNS, DOUBLING], ids=["arrays", "patterns", "doubling"])
def test_a_schema_that_is_a_weapon_is_refused_with_little_memory(schema: Any) -> None:
    before = memory()
    with serving(FakeEngine(["{}"])) as running:
        reply = running.ask(response_format=held_to(schema))
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "response_format"
    assert memory() - before < 300_000_000


def test_while_a_schema_is_tried_a_plain_question_is_answered_and_one_who_leaves_ends_the_trial() -> None:
    with serving(FakeEngine(["hi"] * 20), running=1) as running:
        body = json.dumps({"messages": [{"role": "user", "content": "x"}], "response_format": held_to(PATTERNS)})
        with running.connect() as client:
            client.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                + f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
            )
            until(lambda: running.app.state.queue.pending == 1)
            assert running.ask().json()["choices"][0]["message"]["content"] == "hi"
            assert running.app.state.queue.pending == 1
        until(lambda: running.app.state.queue.pending == 0, 8)


def test_values_of_an_enum_are_compared_by_hash() -> None:
    with at_most(calls=200 * len(ENUM["enum"])):
        schema_check.check(ENUM)
    with serving(FakeEngine(["1"])) as running:
        assert running.ask(response_format=held_to(ENUM)).status_code == 200


def test_an_ordinary_schema_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("pixtral_cli.engines.local.generation.grammar.try_schema", refuse)
    with serving(FakeEngine(["{}"])) as running:
        assert running.ask(response_format=held_to(PLAIN)).status_code == 200


def test_half_open_connections_leave_room_for_others() -> None:
    with serving(FakeEngine(["yes"]), connections=40) as running:
        half = [running.connect() for _ in range(60)]
        for client in half:
            client.settimeout(20)
        held = half[:20]
        for client in half[20:]:
            try:
                assert client.recv(1) == b""  # one address holds half of the connections and no more
            except ConnectionResetError:
                continue
        held.pop().close()
        until(lambda: _answers(running), 20)
        for client in half:
            client.close()


def _answers(running: Running) -> bool:
    try:
        return running.ask().status_code == 200
    except Exception:
        return False


LIMITED = 'ulimit -n 160; exec "$0" -m tests.server.launch_fake "$1"'


def half_open(port: int, addresses: Iterable[str]) -> list[socket.socket]:
    """Connections from these addresses of this machine, each with one line of a request."""
    opened = []
    for address in addresses:
        client = socket.create_connection(("127.0.0.1", port), 60, (address, 0))
        with contextlib.suppress(OSError):  # closed already
            client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n")
        opened.append(client)
    return opened


@pytest.mark.skipif(sys.platform != "linux", reason="Only on Linux all of 127/8 is this machine")
def test_more_half_open_connections_than_descriptors_end_nothing_and_fill_no_log(tmp_path: Path) -> None:
    """The server has 160 descriptors: 80 connections in all, 40 from one address."""
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            ["sh", "-c", LIMITED, sys.executable, str(tmp_path / "state")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    opened: list[socket.socket] = []
    try:
        assert process.stdout
        url = process.stdout.readline().decode().strip()
        port = int(url.rsplit(":", 1)[1])
        descriptors = Path(f"/proc/{process.pid}/fd")
        opened = half_open(port, ["127.0.0.1"] * 250)
        until(lambda: len(list(descriptors.iterdir())) < 130)
        transport = httpx2.HTTPTransport(local_address="127.0.0.9")
        with httpx2.Client(base_url=url, transport=transport, timeout=60, trust_env=False) as client:
            until(lambda: healthy(client))
        opened += half_open(port, [f"127.0.1.{number % 200 + 1}" for number in range(250)])
        until(lambda: len(list(descriptors.iterdir())) < 130)
        for client in opened:
            client.close()
        with httpx2.Client(base_url=url, timeout=60, trust_env=False) as client:
            until(lambda: healthy(client))
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        for client in opened:
            client.close()
        shutil.rmtree(resident.socket_folder(tmp_path / "state"), ignore_errors=True)
    assert log.stat().st_size < 2000, log.read_text()[:2000]


def healthy(client: httpx2.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx2.HTTPError:
        return False


def test_headers_have_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pixtral_cli.server.http.listener.HEADER_TIMEOUT", 0.5)
    with serving(FakeEngine(["yes"]), arrive=600) as running, running.connect() as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n")
        client.settimeout(20)
        assert client.recv(100).startswith(b"HTTP/1.1 408")


def test_images_that_are_slow_to_come_are_the_clients_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "SECONDS_FOR_IMAGES", 0.2)
    gate = threading.Event()

    def slow(source: str) -> Any:
        gate.wait(30)
        raise AssertionError

    with serving(FakeEngine(["yes"]), load=slow) as running:
        reply = running.ask([picture(), {"type": "text", "text": "?"}])
        gate.set()
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "image_unreachable")


def test_the_pixels_of_a_request_are_bounded() -> None:
    big = picture(data_url(png(8000, 8000)))
    plain, loaded = threading.Event(), 0
    load_image = make_image_loader(urls=False)

    def load(url: str) -> Any:
        nonlocal loaded
        loaded += 1
        assert plain.wait(120)  # a plain question is answered while the pictures are decoded
        return load_image(url)

    with serving(FakeEngine(["yes"]), load=load) as running, ThreadPoolExecutor(1) as pool:
        reply = pool.submit(running.ask, [big] * 20)
        until(lambda: loaded == 1)
        assert running.ask().status_code == 200
        plain.set()
        assert reply.result().status_code == 400
        assert "million pixels" in reply.result().json()["error"]["message"]
    assert loaded == 9  # the ninth is one too many
