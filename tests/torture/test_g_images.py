"""Torture G: pictures with more text than pixels, and headers of rarer formats that promise what no machine has."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.images.test_rare_formats import HOSTILE, texts
from tests.server.processes import ROOT


def measured(*files: Path) -> list[dict[str, Any]]:
    """Seconds of computing, growth in MB and error of each picture that a user names, in a process of its own."""
    command = [sys.executable, "-m", "tests.torture.measure", "--typed", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("count", "size"), [(1, 3_000_000), (80, 900_000)])
def test_77_a_png_with_megabytes_of_packed_text_is_read(tmp_path: Path, count: int, size: int) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(texts(count, size))
    (result,) = measured(file)
    assert result["message"] == ""
    assert result["growth"] <= 50, result


def test_77_a_png_with_a_gigabyte_of_packed_text_is_refused_for_little(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(texts(20, 50_000_000))
    (result,) = measured(file)
    assert "over 80 MB" in result["message"]
    assert result["seconds"] <= 0.2, result
    assert result["growth"] <= 50, result


def test_78_headers_that_promise_too_much_are_refused_for_little(tmp_path: Path) -> None:
    cases = {tmp_path / f"{number}.bin": case for number, case in enumerate(HOSTILE.values())}
    for file, (build, _) in cases.items():
        file.write_bytes(build())
    for (_, says), result in zip(cases.values(), measured(*cases), strict=True):
        assert says in result["message"], result
        assert len(result["message"]) <= 120, result
        assert result["seconds"] <= 1, result
        assert result["growth"] <= 100, result
