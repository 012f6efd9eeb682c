"""What `pixtral serve` itself costs: small requests at a fixed rate, over stand-ins for vLLM that answer at once.

`python -m benchmarks.front [--rate 200] [--seconds 10]` prints the rate that was reached, the latencies, and the processor
time of a request in the front and in the worker.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2

WARM_UP = 50  # requests before the measurement
TICKS = os.sysconf("SC_CLK_TCK")
WORDS = 5  # chunks of an answer


async def stand_in(uds: str, name: str) -> None:
    """An HTTP server that lists the model and streams a short answer to everything that is asked."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            if head.startswith("GET"):
                body = json.dumps({"data": [{"id": name, "max_model_len": 4096}], "version": "0.0.0"}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + body)
            else:
                size = next(line for line in head.lower().splitlines() if line.startswith("content-length:"))
                await reader.readexactly(int(size.split(":")[1]))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
                for _ in range(WORDS):
                    writer.write(_event({"choices": [{"delta": {"content": "word "}, "finish_reason": None}]}))
                writer.write(_event({"choices": [{"delta": {}, "finish_reason": "stop"}]}))
                usage = {"prompt_tokens": 9, "completion_tokens": WORDS}
                writer.write(_event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(handle, uds, backlog=512)
    await server.serve_forever()


def _event(value: Any) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def child_of(pid: int) -> int:
    """The worker that a front has started."""
    return next(
        int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()
    )


async def ask(client: httpx2.AsyncClient, url: str) -> float | None:
    """Seconds of a request; None when it was turned away or failed."""
    began = time.monotonic()
    try:
        body = {"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": WORDS}
        response = await client.post(f"{url}/v1/chat/completions", json=body)
    except httpx2.HTTPError:
        return None
    return time.monotonic() - began if response.status_code == 200 else None


async def load(url: str, rate: float, seconds: float) -> list[float | None]:
    """Send requests at a fixed rate, whether or not earlier ones have been answered; their seconds."""
    async with httpx2.AsyncClient(timeout=60, trust_env=False, limits=httpx2.Limits(max_connections=200)) as client:
        await asyncio.gather(*(ask(client, url) for _ in range(WARM_UP)))
        began, sent = time.monotonic(), []
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            sent.append(asyncio.create_task(ask(client, url)))
        return list(await asyncio.gather(*sent))


def measure(rate: float, seconds: float) -> dict[str, float]:
    """Start a front over two stand-ins, send it requests, and take the times of its processes."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "vllm"
        program.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -m benchmarks.front --stand-in "$@"\n', encoding="utf-8"
        )
        program.chmod(0o755)
        env = {**os.environ, "PIXTRAL_HOME": folder, "PIXTRAL_VLLM": str(program)}
        command = (
            "serve", "--model", "demo", "--engine", "vllm", "--replicas", "2", "--port", "0", "--queue", "1000",
        )  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "pixtral_cli", *command], env=env, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr
            line = next(line for line in process.stderr if "answers at" in line)
            url = line.split("answers at ")[1].split("/v1")[0]
            pids = {"front": process.pid, "worker": child_of(process.pid)}
            before = {name: cpu_seconds(pid) for name, pid in pids.items()}
            began = time.monotonic()
            times = asyncio.run(load(url, rate, seconds))
            lasted = time.monotonic() - began
            spent = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
        finally:
            process.terminate()
            process.wait(60)
    answered = sorted(one for one in times if one is not None)
    count = len(answered) + WARM_UP
    return {
        "asked": len(times), "answered": len(answered), "rate": len(answered) / lasted,
        "median": statistics.median(answered), "p99": answered[int(0.99 * len(answered))],
        **{f"{name} CPU": seconds / count for name, seconds in spent.items()},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    found = measure(options.rate, options.seconds)
    print(f"{options.rate:.0f} a second asked for {options.seconds:.0f} s: {found['answered']:.0f} of {found['asked']:.0f} answered,"
          f" {found['rate']:.0f} a second; median {1000 * found['median']:.0f} ms, p99 {1000 * found['p99']:.0f} ms")  # fmt: skip
    for name in ("front", "worker"):
        cost = found[f"{name} CPU"]
        print(f"{name}: {1000 * cost:.1f} ms of a core a request; full at {1 / cost:.0f} a second")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stand-in"]:
        words = sys.argv[2:]
        if words == ["--version"]:
            print("0.0.0")
        else:
            asyncio.run(stand_in(words[words.index("--uds") + 1], words[words.index("--served-model-name") + 1]))
    else:
        main()
