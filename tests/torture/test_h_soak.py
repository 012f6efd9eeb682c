"""Torture H: five thousand requests of every kind, one server: memory, descriptors and threads stay as they were."""

import io
import json
import random
import signal
import socket
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from PIL import Image as PILImage

from pixtral_cli import config
from pixtral_cli.engines import resident
from pixtral_cli.server.worker import RELEASE_AFTER
from tests.server.processes import launched, until

pytestmark = pytest.mark.slow
REQUESTS, WARM = 5_000, 2_000  # in all, and until the caches are full
CLIENTS = 8
GROWTH = 50  # MB that a process may grow after that
COLOURS = [(number * 5 % 256, number * 37 % 256, 90) for number in range(60)]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}}}  # fmt: skip


def picture(number: int) -> str:
    buffer = io.BytesIO()
    PILImage.new("RGB", (64, 48), COLOURS[number % len(COLOURS)]).save(buffer, "PNG")
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode()


def body(number: int, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": f"Question {number}?"}], "max_tokens": 2, **fields}


def with_picture(number: int) -> dict[str, Any]:
    content = [{"type": "image_url", "image_url": {"url": picture(number)}}, {"type": "text", "text": "What colour?"}]
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 2}


class Client:
    """Asks one of many kinds of request; each is answered as it must be."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx2.Client(base_url=url, timeout=300, trust_env=False)

    def __call__(self, number: int) -> None:
        kind = random.Random(number).choices(("text", "picture", "stream", "schema", "bad", "broken picture", "list", "metrics", "measure", "leave"), (4, 4, 3, 1, 2, 1, 2, 1, 1, 1))[0]  # fmt: skip
        status = self.ask(kind, number)
        wanted = {"bad": 400, "broken picture": 400}.get(kind, 200)
        assert status in (wanted, 503), (kind, number, status)

    def ask(self, kind: str, number: int) -> int:
        if kind in ("list", "metrics"):
            return self.http.get("/v1/models" if kind == "list" else "/metrics").status_code
        if kind == "bad":
            return self.http.post(
                "/v1/chat/completions",
                content=b'{"messages": [' * (number % 50 + 1),
                headers={"Content-Type": "application/json"},
            ).status_code
        if kind == "leave":
            return self.leave(number)
        path = "/v1/measure" if kind == "measure" else "/v1/chat/completions"
        sent = with_picture(number) if kind == "picture" else body(number)
        if kind == "broken picture":
            sent["messages"][0]["content"] = [{"type": "image_url", "image_url": {"url": picture(number)[:90]}}]
        sent |= {"stream": True} if kind == "stream" else {}
        sent |= {"response_format": SCHEMA, "max_tokens": 20} if kind == "schema" else {}
        return self.http.post(path, json=sent).status_code

    def leave(self, number: int) -> int:
        """Ask for a long answer and hang up."""
        asked = json.dumps(body(number, max_tokens=500, stream=True)).encode()
        parts = urlsplit(self.url)
        with socket.create_connection((parts.hostname, parts.port), timeout=300) as connection:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(asked)}\r\n\r\n"  # fmt: skip
            connection.sendall(head.encode() + asked)
            connection.recv(100)
        return 200


class Use:
    """What a process holds: megabytes of memory, descriptors and threads."""

    def __init__(self, pid: int) -> None:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        self.memory = int(status["VmRSS"].split()[0]) / 1024
        self.threads = int(status["Threads"])
        self.descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))


def idle(http: httpx2.Client) -> bool:
    lines = http.get("/metrics").text.splitlines()
    return all(f"pixtral_requests_{kind} 0" in lines for kind in ("running", "waiting"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Only Linux tells what a process holds")
def test_five_thousand_mixed_requests_leave_memory_descriptors_and_threads_as_they_were() -> None:
    with launched("pixtral_cli", "serve", "--model", "demo", "--port", "0") as process:
        assert process.stderr
        line = next(line for line in process.stderr if " answers at " in line)
        url = line.split(" answers at ")[1].split()[0].removesuffix("/v1")
        ((_, status),) = resident.running_workers(resident.socket_folder(config.paths().state))
        pids = {"server": process.pid, "model": status["pid"]}
        client = Client(url)

        def use() -> dict[str, Use]:
            until(lambda: idle(client.http), 120)
            time.sleep(3 * RELEASE_AFTER)
            return {name: Use(pid) for name, pid in pids.items()}

        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(client, range(WARM)))
            before = use()
            list(pool.map(client, range(WARM, REQUESTS)))
            after = use()
        for name in pids:
            assert after[name].memory - before[name].memory < GROWTH, (name, before[name].memory, after[name].memory)
            assert after[name].descriptors <= before[name].descriptors + CLIENTS, name
            assert after[name].threads <= before[name].threads + CLIENTS, name
        client.http.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
