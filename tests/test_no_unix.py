"""What works without Unix's modules and calls, as on Windows; what does not says so in a line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PICTURE = str(ROOT / "examples" / "shapes.png")
DEMO = ("--model", "demo")


def run(tmp_path: Path, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "no_unix.py"), *arguments], cwd=tmp_path, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert "Internal error" not in done.stderr
    return done


def test_questions_and_batches_are_answered(tmp_path: Path) -> None:
    asked = run(tmp_path, "ask", "What is in the image?", "--image", PICTURE, *DEMO, "--json")
    assert "red circle" in json.loads(asked.stdout)["answer"]
    schema = run(tmp_path, "ask", "What is in the image?", "--image", PICTURE, *DEMO, "--schema", "shapes: list")
    assert "shapes" in json.loads(schema.stdout)
    assert "What is in the image?" in run(tmp_path, "sessions").stdout
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "What is in the image?", "images": [PICTURE]}) + "\n")
    assert "red circle" in run(tmp_path, "batch", "rows.jsonl", *DEMO).stdout


@pytest.mark.parametrize("command", [["models"], ["ps"], ["config"], ["templates"], ["doctor"]])
def test_lists_are_shown(tmp_path: Path, command: list[str]) -> None:
    done = run(tmp_path, *command)
    assert done.stdout or done.stderr


@pytest.mark.parametrize("command", [["serve", *DEMO, "--port", "0"], ["ask", "hi", *DEMO, "--keep-alive", "5m"]])
def test_what_needs_unix_sockets_says_so(tmp_path: Path, command: list[str]) -> None:
    assert run(tmp_path, *command, status=1).stderr.splitlines()[-1].endswith("Use pixtral in WSL")
