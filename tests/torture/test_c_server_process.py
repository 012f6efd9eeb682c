"""Torture C 42 to 44: what must not hurt the server's processes."""

import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from pixtral_cli.engines import resident
from tests.server.processes import children, faked, gone, pixtral, until


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file during whose existence no engine gets loaded, and who asks it to wait is not answered."""
    monkeypatch.setenv("FAKE_HOLD", str(tmp_path / "hold"))
    return tmp_path / "hold"


# 40


@pytest.mark.parametrize("stream", [True, False])
def test_the_engine_process_stops_computing_when_the_client_leaves(tmp_path: Path, stream: bool) -> None:
    with faked(tmp_path) as (_, client):
        body = json.dumps(asking(stream=stream)).encode()
        with socket.create_connection((client.base_url.host, client.base_url.port), timeout=20) as leaving:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            leaving.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
            until(lambda: inside(tmp_path) == 1)
        until(lambda: inside(tmp_path) == 0)
        until(lambda: metrics(client)["pixtral_disconnects_total"] == "1")


def inside(state: Path) -> int:
    """How many answers the engine's process has in hand."""
    ((_, status),) = resident.running_workers(resident.socket_folder(state))
    return int(status["inside"])


# 41


def test_64_clients_that_come_again_when_asked_to_all_get_their_own_answer(tmp_path: Path) -> None:
    with faked(tmp_path) as (_, client), ThreadPoolExecutor(64) as threads:
        together = threading.Barrier(64)

        def told(number: int) -> tuple[str, list[int]]:
            """The answer to a question of its own, and the statuses until then."""
            statuses = []
            together.wait(120)
            while True:
                question = f"echo {number}"
                with client.stream(
                    "POST",
                    "/v1/chat/completions",
                    json={"messages": [{"role": "user", "content": question}], "stream": bool(number % 2)},
                ) as response:
                    statuses.append(response.status_code)
                    text = response.read().decode()
                if response.status_code != 503:
                    return text, statuses
                assert int(response.headers["Retry-After"]) >= 1
                time.sleep(0.05)  # sooner than told to: a crowd without manners

        answers = list(threads.map(told, range(64)))
        for number, (text, statuses) in enumerate(answers):
            assert f"<{number}>" in text
            assert set(statuses) <= {200, 503}
        until(lambda: metrics(client)["pixtral_answers_total"] == "64")
        refused = sum(statuses.count(503) for _, statuses in answers)
        counted = metrics(client)
        assert counted['pixtral_requests_total{status="200"}'] == "64"
        assert counted['pixtral_requests_total{status="503"}'] == str(refused)
        for gauge in ("pixtral_requests_running", "pixtral_requests_waiting"):
            until(lambda: metrics(client)[gauge] == "0")  # noqa: B023  it is called here and now


# 42


def test_when_the_engine_dies_its_answers_end_in_an_error_and_it_is_started_anew(tmp_path: Path, hold: Path) -> None:
    with faked(tmp_path) as (_, client):
        (child,) = children(tmp_path)
        hold.touch()
        with client.stream("POST", "/v1/chat/completions", json=asking(stream=True)) as response:
            lines = response.iter_lines()
            next(lines)
            os.kill(child, signal.SIGKILL)
            rest = list(lines)
        error = json.loads([line for line in rest if line][-1].removeprefix("data: "))["error"]
        assert error["code"] == "engine_unavailable"
        assert error["type"] == "server_error"
        until(lambda: client.get("/health").status_code == 503)
        assert measured(client) == ("0", "1")
        meanwhile = client.post("/v1/chat/completions", json=asking())
        assert meanwhile.status_code == 503
        assert meanwhile.headers["Retry-After"]
        hold.unlink()
        until(lambda: client.get("/health").status_code == 200)
        assert measured(client) == ("1", "1")
        assert client.post("/v1/chat/completions", json=asking(max_tokens=2)).status_code == 200
        assert children(tmp_path) != [child]


def measured(client: httpx2.Client) -> tuple[str, str]:
    """Whether the engine is up, and how often it has died, as /metrics has it."""
    counted = metrics(client)
    return counted["pixtral_engine_up"], counted["pixtral_engine_deaths_total"]


def metrics(client: httpx2.Client) -> dict[str, str]:
    lines = client.get("/metrics").text.splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def test_a_whole_answer_ends_in_an_error_too_when_the_engine_dies(tmp_path: Path) -> None:
    with faked(tmp_path) as (_, client), ThreadPoolExecutor(1) as clients:
        whole = clients.submit(client.post, "/v1/chat/completions", json=asking())
        until(lambda: metrics(client)["pixtral_requests_running"] == "1")
        os.kill(children(tmp_path)[0], signal.SIGKILL)
        assert whole.result().status_code == 503
        assert whole.result().json()["error"]["code"] == "engine_unavailable"
        until(lambda: measured(client) == ("1", "1"))


def test_a_bug_in_the_engine_ends_a_stream_in_an_error_and_the_engine_lives(tmp_path: Path) -> None:
    with faked(tmp_path) as (_, client):
        before = children(tmp_path)
        bug = {"messages": [{"role": "user", "content": "break"}], "stream": True}
        response = client.post("/v1/chat/completions", json=bug)
        assert '"content":"0 "' in response.text
        error = json.loads(response.text.split("data: ")[-1])["error"]
        assert (error["type"], error["code"]) == ("server_error", "internal_error")
        assert "0x" not in response.text
        assert metrics(client)["pixtral_stream_errors_total"] == "1"
        assert client.post("/v1/chat/completions", json=asking(max_tokens=2)).status_code == 200
        assert children(tmp_path) == before


def listening(client: httpx2.Client) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection((client.base_url.host, client.base_url.port)):
        return True
    return False


def asking(**fields: object) -> dict[str, object]:
    return {"model": "fake", "messages": [{"role": "user", "content": "count"}], **fields}


# 43


def test_sigterm_finishes_what_runs(tmp_path: Path, hold: Path) -> None:
    with faked(tmp_path) as (process, client), ThreadPoolExecutor(3) as clients:
        (child,) = children(tmp_path)
        hold.touch()
        waiting = {**asking(max_tokens=60), "messages": [{"role": "user", "content": "wait"}]}
        whole = clients.submit(client.post, "/v1/chat/completions", json=waiting)
        streams = [clients.submit(client.post, "/v1/chat/completions", json={**waiting, "stream": True}) for _ in "ab"]
        until(lambda: "pixtral_requests_running 3" in client.get("/metrics").text)
        process.terminate()
        until(lambda: not listening(client))
        hold.unlink()
        assert whole.result().json()["choices"][0]["message"]["content"].endswith("59 ")
        for one in streams:
            assert one.result().text.endswith("data: [DONE]\n\n")
        assert process.wait(120) == 0
        assert gone(child)
        assert process.stderr
        assert process.stderr.read() == ""


def test_a_second_sigterm_ends_at_once(tmp_path: Path) -> None:
    with faked(tmp_path) as (process, client), ThreadPoolExecutor(1) as clients:
        (child,) = children(tmp_path)
        lost = clients.submit(client.post, "/v1/chat/completions", json=asking())
        until(lambda: "pixtral_requests_running 1" in client.get("/metrics").text)
        process.terminate()
        until(lambda: not listening(client))
        assert process.poll() is None
        process.terminate()
        assert process.wait(120) == 143
        assert isinstance(lost.exception(), httpx2.TransportError)
        until(lambda: gone(child))


def test_when_the_server_is_killed_its_engine_leaves_too(tmp_path: Path) -> None:
    with faked(tmp_path) as (process, _):
        (child,) = children(tmp_path)
        process.kill()
        until(lambda: gone(child))
        assert not list(resident.socket_folder(tmp_path).glob("*.sock"))


# 44


def test_a_busy_port_is_one_line_and_nothing_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = pixtral("serve", "--model", "demo", "--port", str(port))
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == f"pixtral: Port {port} on 127.0.0.1 is in use. Choose another with --port\n"
