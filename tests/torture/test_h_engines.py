"""Torture H: servers that answer badly, keys, sockets of stopped processes, pages and documents that are weapons."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.chat.preview import sandboxed_page
from pixtral_cli.engines import resident
from pixtral_cli.engines.remote.client import ApiClient
from pixtral_cli.engines.remote.client import _read_limited as read_limited
from pixtral_cli.engines.remote.engine import RemoteEngine, connect
from pixtral_cli.engines.remote.errors import parse_endpoint
from pixtral_cli.errors import NetworkError, UsageError
from pixtral_cli.structured import schema

CHAT = "/v1/chat/completions"
HI = [user("hi")]


def engine(server: HTTPServer) -> RemoteEngine:
    return RemoteEngine(ApiClient(parse_endpoint(server.url_for("/v1")), read_timeout=60), "m")


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "timings": {"total": NaN}}',
        b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "timings": {"peak_memory": Infinity}}',
        b'{"choices": [{"message": {"content": ' + b'[{"type": "text", "text": ' * 400 + b'""' + b"}]" * 400 + b"}}]}",
    ],
    ids=["NaN", "Infinity", "nested"],
)
def test_a_reply_that_is_no_answer_is_one_error(httpserver: HTTPServer, body: bytes) -> None:
    httpserver.expect_request(CHAT).respond_with_data(body, content_type="application/json")
    with pytest.raises(NetworkError):
        list(engine(httpserver).stream(HI, Sampling()))


def test_a_number_beyond_all_floats_is_left_out_of_the_timings(httpserver: HTTPServer) -> None:
    body = '{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "timings": {"peak_memory": 1e999}}'
    httpserver.expect_request(CHAT).respond_with_data(body, content_type="application/json")
    *_, last = engine(httpserver).stream(HI, Sampling())
    assert last.timings
    assert last.timings.peak_memory == 0


def test_a_body_in_single_bytes_is_read_in_linear_time(httpserver: HTTPServer) -> None:
    def trickle(_: object) -> Response:
        return Response((b"x" for _ in range(60_000)), status=500)

    httpserver.expect_request(CHAT).respond_with_handler(trickle)
    with pytest.raises(NetworkError):
        list(engine(httpserver).stream(HI, Sampling()))


class Trickle:
    """A reply that comes in single bytes."""

    def __init__(self, count: int) -> None:
        self.left = count

    def iter_bytes(self) -> Iterator[bytes]:
        while self.left:
            self.left -= 1
            yield b"x"


def test_megabytes_in_single_bytes_take_seconds_of_computing_and_end_at_the_limit() -> None:
    reply: Any = Trickle(4_000_000)
    began = time.process_time()
    assert len(read_limited(reply, 3_000_000)) == 3_000_001
    assert reply.left == 999_999
    assert time.process_time() - began < 60  # copied for every byte, it takes many minutes


def test_an_answers_number_of_hundreds_of_digits_is_a_mismatch() -> None:
    with pytest.raises(schema.AnswerMismatch, match="too large"):
        schema.validate("1" * 400, {"type": "number", "multipleOf": 0.5})


def test_the_key_of_la_plateforme_is_not_sent_in_clear_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MISTRAL_API_KEY", "secret")
    with pytest.raises(UsageError, match="clear text"):
        connect("http://api.mistral.ai/v1", "m", tmp_path / "keys.json")
    assert connect("https://api.mistral.ai/v1", "m", tmp_path / "keys.json").server.key == "secret"


LISTEN = """
import socket, sys, time
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen(0)
print("ready", flush=True)
time.sleep(600)
"""


def test_the_socket_of_a_stopped_process_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resident.socket_folder(Path(os.environ.get("TMPDIR", "/tmp")) / f"pixtral-h-{os.getpid()}")
    path = folder / "a.sock"
    monkeypatch.setattr(resident, "STATUS_TIMEOUT", 0.5)
    process = subprocess.Popen([sys.executable, "-c", LISTEN, str(path)], stdout=subprocess.PIPE)
    waiting: list[socket.socket] = []
    try:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        for _ in range(3):  # its backlog is full: nobody can connect any more
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            client.connect_ex(str(path))
            waiting.append(client)
        assert list(resident.running_workers(folder)) == []
        assert path.exists()
        process.kill()
        process.wait()
        assert list(resident.running_workers(folder)) == []
        assert not path.exists()
    finally:
        process.kill()
        process.wait()
        for client in waiting:
            client.close()


@pytest.mark.parametrize("scripts", [False, True])
def test_a_page_of_the_model_is_opened_without_network_and_scripts(scripts: bool) -> None:
    evil = '"><script>fetch("https://example.com")</script><img src=x onerror=alert(1)>'
    page = sandboxed_page(evil, 'a "title" <b>', scripts=scripts)
    assert "default-src 'none'" in page
    assert ("script-src" in page) is scripts
    assert f'<iframe sandbox="{"allow-scripts" if scripts else ""}" srcdoc=' in page
    assert "<script" not in page
    assert "<b>" not in page
    assert '"&gt;' not in page.partition("srcdoc=")[2].partition("&quot;")[0]
