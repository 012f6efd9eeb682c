"""llama.cpp's server, compiled here by `llama_cpp_env.sh`, on the same weights in its own formats."""

import json
import os
import socket
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from PIL.Image import Image

from benchmarks import checkpoints, isa
from benchmarks.scenario import Turn, peak_memory

ROOT = Path(__file__).parent.parent.parent
HOME = ROOT / f".llama-cpp-{isa.held()}" if isa.held() else ROOT / ".llama-cpp"
PROGRAMS = HOME / "build" / "bin"
FORMATS = {"8bit": "Q8_0", "4bit": "Q4_0"}
# What this project leaves in bf16 when it quantizes; as it comes, llama.cpp quantizes these too.
LEFT = ("--output-tensor-type", "bf16", "--token-embedding-type", "bf16")
PATIENCE = 600.0


def missing(precision: str) -> str:
    return "" if (HOME / "ready").exists() else "not compiled: `make bench` compiles it with cmake and a C++ compiler"


def prepare(folder: Path, precision: str) -> None:
    """Convert the checkpoint, once for all precisions, and quantize it."""
    if not (whole := _file(folder, "bf16")).exists():
        described = checkpoints.described(folder, folder / "described")
        _convert(described, whole, "--outtype", "bf16")
        _convert(described, _vision(folder), "--outtype", "bf16", "--mmproj")
    if not (quantized := _file(folder, precision)).exists():
        bits, _, throughout = precision.partition(" ")
        options = () if throughout else LEFT
        _quietly([PROGRAMS / "llama-quantize", *options, whole, quantized, FORMATS[bits]])


def _file(folder: Path, precision: str) -> Path:
    return folder / f"{precision.replace(' ', '-')}.gguf"


def _vision(folder: Path) -> Path:
    return folder / "vision.gguf"


def _convert(folder: Path, out: Path, *options: str) -> None:
    program = HOME / "source" / "convert_hf_to_gguf.py"
    _quietly([sys.executable, program, folder, "--mistral-format", *options, "--outfile", out])


def _quietly(command: Sequence[str | Path]) -> None:
    """Raises RuntimeError, with the end of what the program said, when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed:\n{done.stdout[-2000:]}")


def bench(folder: Path, precision: str, prompt: int, tokens: int) -> dict[str, float]:
    """What its own llama-bench says, in tokens a second: `prefill` of so many tokens, `decode` of so many."""
    command = [str(PROGRAMS / "llama-bench"), "-m", str(_file(folder, precision)), "-t", str(os.cpu_count())]
    sizes = ["-p", str(prompt), "-n", str(tokens), "-r", "1", "-o", "json"]
    done = subprocess.run([*command, *sizes], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return {"prefill" if row["n_prompt"] else "decode": row["avg_ts"] for row in json.loads(done.stdout)}


def open_program(folder: Path, precision: str, context: int, slots: int, label: str) -> "LlamaCpp":
    return LlamaCpp(folder, precision, context, slots)


class LlamaCpp:
    """A `llama-server` of our own; it keeps the KV cache of the conversation from turn to turn."""

    def __init__(self, folder: Path, precision: str, context: int, slots: int, programs: Path = PROGRAMS) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._at = f"http://127.0.0.1:{port}"
        vision = ["--mmproj", str(_vision(folder))] if _vision(folder).exists() else []
        self._process = subprocess.Popen(
            [
                str(programs / "llama-server"), "--model", str(_file(folder, precision)), *vision, "--offline",
                "--host", "127.0.0.1", "--port", str(port), "--threads", str(os.cpu_count()),
                "--ctx-size", str(context * slots), "--parallel", str(slots),
                "--no-jinja", "--chat-template", "mistral-v3-tekken",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._wait()
        self._barred = [[token, False] for token in _parts_of_characters(folder / "tekken.json")]
        self.begin()

    def _wait(self) -> None:
        until = time.perf_counter() + PATIENCE
        while time.perf_counter() < until and self._process.poll() is None:
            with suppress(URLError, ConnectionError), urlopen(f"{self._at}/health", timeout=PATIENCE):
                return
            time.sleep(0.005)
        raise RuntimeError("llama-server did not start")

    def begin(self) -> None:
        self._messages: list[dict[str, Any]] = []

    def ask(self, text: str, images: Sequence[Image], tokens: int) -> Turn:
        pictures = [{"type": "image_url", "image_url": {"url": _url(image)}} for image in images]
        self._messages.append({"role": "user", "content": [*pictures, {"type": "text", "text": text}]})
        began = time.perf_counter()
        reply = self._answer(self._messages, tokens)
        took = time.perf_counter() - began
        self._messages.append({"role": "assistant", "content": reply["choices"][0]["message"]["content"] or "."})
        timings = reply["timings"]
        decode = timings["predicted_ms"] / 1000
        return Turn(took - decode, decode, timings["predicted_n"], reply["usage"]["prompt_tokens"])

    def alone(self, text: str, tokens: int) -> int:
        count: int = self._answer([{"role": "user", "content": text}], tokens)["usage"]["completion_tokens"]
        return count

    def _answer(self, messages: Sequence[dict[str, Any]], tokens: int) -> Any:
        wanted = {
            "messages": messages, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "logit_bias": self._barred,
        }  # fmt: skip
        request = Request(f"{self._at}/v1/chat/completions", json.dumps(wanted).encode())
        request.add_header("Content-Type", "application/json")
        with urlopen(request, timeout=PATIENCE) as reply:
            return json.load(reply)

    def close(self) -> dict[str, float]:
        memory = peak_memory(self._process.pid)
        self._process.terminate()
        self._process.wait()
        return {"memory": memory}


def _parts_of_characters(tekken: Path) -> list[int]:
    """The tokens that are no text alone: it answers with an error when a random model strings them to what is none."""
    found = json.loads(tekken.read_text())
    special = found["config"]["default_num_special_tokens"]
    words = (b64decode(token["token_bytes"]) for token in found["vocab"])
    return [special + rank for rank, word in enumerate(words) if word.decode(errors="ignore").encode() != word]


def _url(image: Image) -> str:
    written = BytesIO()
    image.save(written, "PNG")
    return f"data:image/png;base64,{b64encode(written.getvalue()).decode()}"
