"""Calls `pixtral batch` over the fake engine, in a process of its own, and reads what it wrote."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.cli.calling import Result

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "tests.batch.fake_batch")


def start(
    *words: str | Path, pause: float = 0, command: Sequence[str] = COMMAND, **streams: Any
) -> "subprocess.Popen[bytes]":
    """The program, begun; its streams are pipes unless told otherwise."""
    wanted = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    env = {**os.environ, "PAUSE": str(pause), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([*command, *map(str, words), "-m", "demo"], env=env, **wanted)


def batch(*words: str | Path, stdin: bytes = b"", pause: float = 0, **streams: Any) -> Result:
    """`pixtral batch WORDS…` to its end."""
    with start(*words, pause=pause, **streams) as child:
        out, err = child.communicate(stdin, timeout=240)
    return Result(child.returncode, (out or b"").decode(), (err or b"").decode())


def write(file: Path, rows: Sequence[Any]) -> Path:
    """A file of rows; text stands there as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
    return file


def read(file: Path | str) -> list[dict[str, Any]]:
    """The lines of an output, or of text."""
    data = file.read_text(encoding="utf-8") if isinstance(file, Path) else file
    return [json.loads(line) for line in data.split("\n")[:-1]]


def plain(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"What is {number}?"} for number in range(count)]


def request(custom_id: str, content: Any = "hello", **body: Any) -> dict[str, Any]:
    """A line of an OpenAI batch."""
    said = {"model": "pixtral-12b-2409", "messages": [{"role": "user", "content": content}], **body}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": said}
