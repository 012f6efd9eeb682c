"""Torture C 42 to 44: what must not hurt the server's processes."""

import json
import os
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from pixtral_cli.engines import resident
from tests.server.processes import children, faked, gone, pixtral, until

# 42


def test_when_the_engine_dies_its_answers_end_in_an_error_and_it_is_started_anew(tmp_path: Path) -> None:
    with faked(tmp_path) as (_, client):
        (child,) = children(tmp_path)
        with client.stream("POST", "/v1/chat/completions", json=asking(stream=True)) as response:
            lines = response.iter_lines()
            next(lines)
            os.kill(child, signal.SIGKILL)
            rest = list(lines)
        error = json.loads([line for line in rest if line][-1].removeprefix("data: "))["error"]
        assert error["code"] == "engine_unavailable"
        assert error["type"] == "server_error"
        for status in (503, 200):
            until(lambda: client.get("/health").status_code == status)  # noqa: B023  it is called here and now
        assert client.post("/v1/chat/completions", json=asking(max_tokens=2)).status_code == 200
        assert children(tmp_path) != [child]


def asking(**fields: object) -> dict[str, object]:
    return {"model": "fake", "messages": [{"role": "user", "content": "count"}], **fields}


# 43


def test_sigterm_finishes_what_runs(tmp_path: Path) -> None:
    with faked(tmp_path) as (process, client), ThreadPoolExecutor(3) as clients:
        (child,) = children(tmp_path)
        whole = clients.submit(client.post, "/v1/chat/completions", json=asking(max_tokens=60))
        streams = [
            clients.submit(client.post, "/v1/chat/completions", json=asking(max_tokens=60, stream=True)) for _ in "ab"
        ]
        until(lambda: "pixtral_requests_running 3" in client.get("/metrics").text)
        process.terminate()
        assert whole.result().json()["choices"][0]["message"]["content"].endswith("59 ")
        for one in streams:
            assert one.result().text.endswith("data: [DONE]\n\n")
        assert process.wait(10) == 0
        assert gone(child)
        assert process.stderr
        assert process.stderr.read() == ""


def test_a_second_sigterm_ends_at_once(tmp_path: Path) -> None:
    with faked(tmp_path) as (process, client), ThreadPoolExecutor(1) as clients:
        (child,) = children(tmp_path)
        lost = clients.submit(client.post, "/v1/chat/completions", json=asking())
        until(lambda: "pixtral_requests_running 1" in client.get("/metrics").text)
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.terminate()
        assert process.wait(1) == 143
        assert isinstance(lost.exception(), httpx2.TransportError)
        until(lambda: gone(child))


def test_when_the_server_is_killed_its_engine_leaves_too(tmp_path: Path) -> None:
    with faked(tmp_path) as (process, _):
        (child,) = children(tmp_path)
        process.kill()
        until(lambda: gone(child))
        assert not list(resident.room(tmp_path).glob("*.sock"))


# 44


def test_a_busy_port_is_one_line_and_nothing_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = pixtral("serve", "--model", "demo", "--port", str(port))
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == f"pixtral: Port {port} on 127.0.0.1 is in use. Choose another: pixtral serve --port 8001\n"
