"""A program that looks like `vllm` from outside: it writes such logs, answers so, and fails as vLLM does.

FAKE_VLLM says how: "" well, or the name of a way below. FAKE_VLLM_TOLD is a file that learns how it was called, or a
folder that gets a file for each process. FAKE_VLLM_VERSION is what --version says.
"""

import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

TOLD_VARIABLES = (
    "RAY_ADDRESS", "VLLM_API_KEY", "HF_HUB_OFFLINE", "VLLM_HOST_IP", "GLOO_SOCKET_IFNAME", "CUDA_VISIBLE_DEVICES",
    "VLLM_CPU_OMP_THREADS_BIND",
)  # fmt: skip
LINE = "(EngineCore pid=7) {} 11-23 14:02:18 [core.py:1] {}"
PHASES = (
    "vLLM API server version 0.32.0",
    "Initializing a V1 LLM engine (v0.32.0) with config: model='/x'",
    "Starting to load model /x...",
    "Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01,  1.00s/it]",
)
LOADED = (
    "Loading weights took 0.02 seconds",
    "GPU KV cache size: 174,720 tokens, Maximum concurrency for 4,096 tokens per request: 42.66x",
)
OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 170.00 MiB. GPU 0 has a total capacity of 23.5 GiB",
    "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
)
TAKEN = ("OSError: [Errno 98] Address already in use",)
MODEL = ("safetensors._safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata",)


def log(level: str, *lines: str) -> None:
    for line in lines:
        print(LINE.format(level, line), flush=True)


class Handler(BaseHTTPRequestHandler):
    """The paths that are asked of it. Its answer tells what it was asked."""

    def do_GET(self) -> None:
        name, window = option("--served-model-name"), int(option("--max-model-len") or 128_000)
        models = {"data": [{"id": name, "max_model_len": window}]}
        self._json({"version": "0.32.0"} if self.path == "/version" else models)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not (file := Path(os.environ["FAKE_VLLM_TOLD"])).is_dir():
            tell(file.with_suffix(".asked"), json.dumps(asked))
        parses = "--enable-auto-tool-choice" in sys.argv and option("--tool-call-parser")
        if "tools" in asked and "structured_outputs" not in asked and not parses:
            why = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
            self._json({"error": {"message": why, "code": 400}}, 400)
        else:
            self._stream(asked)

    def _stream(self, asked: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if "think" in json.dumps(asked["messages"][-1]):
            for piece in ("[THINK]", "Hm.", "[/THINK]"):
                self._event({"choices": [{"delta": {"content": piece}}]})
        called = ["[TOOL_", "CALLS]clock[ARGS]", "{}"] if "structured_outputs" in asked else []
        for piece in called:
            self._event({"choices": [{"delta": {"content": piece}}]})
        for word in [] if called else answer(asked).split():
            self._event({"choices": [{"delta": {"content": f"{word} "}, "finish_reason": None}]})
            if "wait" in json.dumps(asked["messages"]):
                wait()
            if HOW == "crash":
                log("ERROR", *OOM)
                os._exit(1)
        self._event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        self._event({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 5}})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, event: Any) -> None:
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

    def _json(self, answer: Any, status: int = 200) -> None:
        authorized = self.headers["Authorization"] == f"Bearer {os.environ['VLLM_API_KEY']}"
        body = json.dumps(answer if authorized else {"error": "Unauthorized"}).encode()
        self.send_response(status if authorized else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        pass


def answer(asked: Any) -> str:
    last = asked["messages"][-1]["content"]
    parts = last if isinstance(last, list) else [{"type": "text", "text": last}]
    images = sum(part["type"] == "image_url" for part in parts)
    schema = "response_format" in asked
    return f"{asked['model']} sees {images} pictures, schema: {schema}"


class TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def serve() -> None:
    if "--headless" in sys.argv:
        threading.Event().wait()
    if path := option("--uds"):
        with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
            server.serve_forever()
    with TcpServer((option("--host"), int(option("--port"))), Handler) as server:
        server.serve_forever()


def option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else ""


def fail(*lines: str, status: int = 1) -> Callable[[], None]:
    def end() -> None:
        log("ERROR", *lines)
        sys.exit(status)

    return end


def silent() -> None:
    log("INFO", *LOADED)
    wait()


def wait() -> None:
    """Until the test lets it go on by removing the file that it is told."""
    gate = Path(os.environ.get("FAKE_VLLM_GATE", "/dev/null"))
    while gate.exists():
        threading.Event().wait(0.02)


def slow() -> None:
    wait()
    log("INFO", *LOADED)
    serve()


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stubborn() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve()


def deaf() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    silent()


def unknown() -> None:
    print("usage: vllm [-h] [-v] {chat,serve} ...\nvllm: error: unrecognized arguments: --no-such-flag 3", flush=True)
    sys.exit(2)


WAYS: dict[str, Callable[[], None]] = {
    "": serve,
    "crash": serve,
    "oom": fail(*OOM),
    "taken": fail(*TAKEN),
    "model": fail(*MODEL),
    "killed": killed,
    "silent": silent,
    "slow": slow,
    "stubborn": stubborn,
    "deaf": deaf,
    "unknown": unknown,
    "mute": lambda: sys.exit(3),
}
HOW = os.environ.get("FAKE_VLLM", "")


def tell(file: Path, text: str) -> None:
    """Whoever finds the file finds all of it, even if this process is killed meanwhile."""
    part = file.with_suffix(f".{threading.get_ident()}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        print(os.environ.get("FAKE_VLLM_VERSION", "0.32.0"))
        return
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    told = {"argv": sys.argv[1:], "pid": os.getpid(), "worker": worker.pid, "group": os.getpgrp()}
    told["env"] = {name: os.environ.get(name) for name in TOLD_VARIABLES}
    file = Path(os.environ["FAKE_VLLM_TOLD"])
    tell(file / f"{os.getpid()}.json" if file.is_dir() else file, json.dumps(told))
    if HOW != "mute":
        log("INFO", *PHASES)
    WAYS[HOW]()


if __name__ == "__main__":
    main()
