"""Torture H: evaluated programs that attack, rows of a data set that are no rows."""

import base64
import json
import os
import resource
import tempfile
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.errors import ImageError, UsageError
from pixtral_cli.evals import datasets
from pixtral_cli.evals.scoring import execution
from tests.evals.answering import in_turn
from tests.evals.running import run
from tests.evals.sets import picture, png
from tests.server.processes import until
from tests.work import at_most

ESCAPED = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(os.path.expanduser("~/../../escaped-%d"), "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not os.path.exists(os.path.expanduser("~/../../escaped-%d")): time.sleep(0.01)
time.sleep(0.1)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs are run: nothing may be left there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("code", "passes"),
    [
        ("import os; os.write(1, b'\\xff\\xfe' * 100)", True),
        ("import sys; sys.stdout.buffer.write(bytes(range(256)))", True),
        ("print('x' * 5_000_000)", True),
        ("import sys; sys.stdout.close(); sys.stderr.close()", True),
        ("x = '\ud800'", False),
        ("x = '\0'", False),
        ("(" * 100_000, False),
        ("import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')", True),
        ("import os\nhere = os.getcwd(); os.rmdir(here); open(here, 'w').close()", True),
        ("import os\nhere = os.getcwd(); os.rmdir(here); os.symlink('/', here)", True),
        ("import os\nhere = os.getcwd(); os.mkdir('a'); open('a/b', 'w').close(); os.chmod('a', 0); os.chmod(here, 0)", True),
        ("import os\nos.chmod(os.path.dirname(os.getcwd()), 0)", True),
        ("import os\nos.mkfifo('a'); os.symlink('/dev/zero', 'b'); os.mkdir('c'); os.symlink('/', 'c/d')", True),
        ("import os, signal; os.kill(os.getppid(), signal.SIGKILL)", False),
        ("import os; os.closerange(0, 100)", False),
        ("import os; os._exit(0)", False),
        ("raise SystemExit", False),
    ],
    ids=lambda value: value[:40].encode("unicode_escape").decode() if isinstance(value, str) else str(value),
)  # fmt: skip
def test_whatever_a_program_does_it_passes_or_not_and_leaves_nothing(folder: Path, code: str, passes: bool) -> None:
    assert execution.program_passes(code) is passes
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("code", ["while True: print('x' * 1000)", "import os\nwhile True: os.write(1, b'x' * 60_000)"])
def test_endless_output_costs_no_memory(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "PROGRAM_TIMEOUT", 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not execution.program_passes(code)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


FILES = """
import os, time
data = b"x" * (1 << 20)
for number in range(%d):
    open(f"f{number}", "wb").write(data)
time.sleep(0.2)
"""
UNLINKED = """
import os, time
for number in range(200):
    open("f", "wb").write(b"x" * (1 << 20))
    os.unlink("f")
time.sleep(0.2)
"""
BY_CHILDREN = """
import os, time
for child in range(4):
    if os.fork() == 0:
        for number in range(50):
            open(f"{child}-{number}", "wb").write(b"x" * (1 << 20))
        time.sleep(1)
        os._exit(0)
time.sleep(1)
"""
RESERVED = """
import os, time
for number in range(200):
    with open(f"f{number}", "wb") as file: os.posix_fallocate(file.fileno(), 0, 1 << 20)
time.sleep(0.5)
"""
BESIDE = """
import os, time
os.mkdir("../beside")
for number in range(200):
    open(f"../beside/{number}", "wb").write(b"x" * (1 << 20))
time.sleep(0.5)
"""
EMPTY = """
import os, time
for number in range(20_000):
    open(f"f{number}", "wb").close()
time.sleep(1)
"""


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="Only Linux counts what processes write")
@pytest.mark.parametrize(
    ("code", "passes"),
    [
        (FILES % 20, True),
        (FILES % 200, False),
        (UNLINKED, False),
        (BY_CHILDREN, False),
        (RESERVED, False),
        (BESIDE, False),
        (EMPTY, False),
    ],
    ids=["twenty files", "many files", "unlinked", "by children", "reserved", "beside the folder", "empty files"],
)
def test_all_files_of_a_program_together_are_bounded_and_removed(folder: Path, code: str, passes: bool) -> None:
    assert execution.program_passes(code) is passes
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Only Linux hands on processes that left their parent")
def test_a_process_that_left_its_parent_and_group_is_ended(folder: Path) -> None:
    mark = folder / f"escaped-{os.getpid()}"
    assert execution.program_passes(ESCAPED % (os.getpid(), os.getpid()))
    process = int(mark.read_text())
    until(lambda: not Path(f"/proc/{process}").exists(), 10)


def test_a_program_that_replaces_its_folder_does_not_end_the_run(tmp_path: Path) -> None:
    attack = "```python\ndef twice(n):\n    import os, shutil\n    here = os.getcwd(); shutil.rmtree(here); open(here, 'w'); print(b'\\xff')\n    return 2 * n\n```"
    (record,) = run("humaneval", tmp_path, in_turn(attack))
    assert record["scores"] == {"pass_at_1": 0.0}
    (record,) = run("humaneval", tmp_path / "b", in_turn("x = '\ud800'"))
    assert record["scores"] == {"pass_at_1": 0.0}


def rows(folder: Path, *values: Any) -> datasets.Dataset:
    (folder / "rows.jsonl").write_text("".join(json.dumps(value) + "\n" for value in values))
    return datasets.open_local(folder)


def jpeg(size: int) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.effect_noise((size, size), 90).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("data", [png(size=(300, 300)), jpeg(8), jpeg(60), jpeg(700)], ids=len)
@pytest.mark.parametrize("encode", [base64.b64encode, base64.encodebytes])
def test_a_picture_in_base64_is_read_however_long_and_whatever_it_begins_with(
    tmp_path: Path, data: bytes, encode: Any
) -> None:
    (row,) = rows(tmp_path, {"image": encode(data).decode()}).rows({0})
    assert row.image("image").data == data


@pytest.mark.parametrize(
    "value", ["a\0.png", "\0", "\ud800.png", "a" * 300, "a/" * 5000, "QUJD" * 3000, "/" * 5000, "../" * 3000, {"path": "\0"}, {"bytes": "\udfff"}, {"bytes": [1]}, "data:\0,"],
    ids=repr,
)  # fmt: skip
def test_what_is_no_picture_is_the_failure_of_its_row_alone(tmp_path: Path, value: Any) -> None:
    (row,) = rows(tmp_path, {"image": value}).rows({0})
    with pytest.raises(ImageError) as caught:
        row.image("image")
    assert len(caught.value.message) < 160
    assert caught.value.message.isprintable()


def test_halves_of_characters_and_nul_in_a_row_are_asked_and_recorded(tmp_path: Path) -> None:
    hostile = "\ud800\0\udfff?"
    data = tmp_path / "data"
    data.mkdir()
    image = "data:image/png;base64," + base64.b64encode(picture()["bytes"]).decode()
    row = {"type": hostile, "question": hostile, "answer": [hostile], "image": image}
    dataset = rows(data, row)
    (read,) = dataset.rows({0})
    assert read.text("question") == "\ufffd\0\ufffd?"
    read.text("question").encode()


def test_a_row_nested_too_deep_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"a": "\\ud800", "b": ' + "[" * 900 + "]" * 900 + "}\n")
    with at_most(calls=100_000):
        try:
            list(datasets.open_local(tmp_path).rows({0}))
        except UsageError as error:
            assert "row 0" in error.message
