"""Torture H: a document that is a weapon hurts the process that reads it, which is ended, and nobody else."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pixtral_cli import images
from pixtral_cli.errors import ImageError
from pixtral_cli.images import isolated
from tests.torture.documents import pdf, repeated

ROOT = Path(__file__).parents[2]
OPERATORS = 20_000_000  # of a path, in a kilobyte


def refusal(file: Path) -> str:
    with pytest.raises(ImageError) as caught:
        images.load_all(str(file), typed=True)
    assert caught.value.status == 3
    assert len(caught.value.message) <= 120
    assert caught.value.message.isprintable()
    return caught.value.message


def children() -> set[str]:
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux lists a process's children")
def test_a_page_of_deflated_path_operators_is_ended_and_costs_this_process_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.pdf"
    file.write_bytes(repeated(b"0 0 m\n", b"9 9 l 0 5 l\n", OPERATORS, b"S\n"))
    assert file.stat().st_size < 10_000
    monkeypatch.setattr(isolated, "CONVERSION_TIMEOUT", 4.0)
    others, before = children(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = refusal(file)
    assert said in (
        "a.pdf: reading this PDF takes longer than 4 seconds",
        "a.pdf: reading this PDF takes too much memory",
        "a.pdf: this PDF is damaged",  # pdfium ends its process where it gets no memory
    )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB
    assert children() <= others


def reader(folder: Path, body: str) -> None:
    """A module in place of pdfium."""
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    code = f"class PdfiumError(Exception): pass\nclass PdfDocument:\n    def __init__(self, source):\n{lines}\n"
    (folder / "pypdfium2.py").write_text(code)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("grown = bytearray(8 << 30)", "takes too much memory"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "is damaged"),
        ("import time\ntime.sleep(600)", "takes longer than 3 seconds"),
        ("while True: pass", "takes longer than 3 seconds"),
    ],
    ids=["memory", "crash", "sleep", "loop"],
)
def test_a_reader_of_documents_that_goes_wrong_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, says: str
) -> None:
    reader(tmp_path, body)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(isolated, "CONVERSION_TIMEOUT", 3.0 if "longer" in says else 120.0)
    (tmp_path / "a.pdf").write_bytes(pdf(b""))
    assert says in refusal(tmp_path / "a.pdf")


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux tells a process's limits")
def test_the_process_that_reads_has_limits_of_memory_and_of_computing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = tmp_path / "limits"
    reader(tmp_path, f"open({str(limits)!r}, 'w').write(open('/proc/self/limits').read())\nraise PdfiumError('no')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "a.pdf").write_bytes(pdf(b""))
    assert "damaged" in refusal(tmp_path / "a.pdf")
    found = {line[:25].strip(): line[25:].split()[:2] for line in limits.read_text().splitlines()}
    assert found["Max address space"] == [str(3 << 30)] * 2
    assert found["Max cpu time"] == ["60", "60"]
    assert found["Max core file size"] == ["0", "0"]


def peak(file: Path) -> tuple[int, bytes]:
    """KiB of the process that reads a document, and what it wrote."""
    order = json.dumps({"kind": "PDF", "path": str(file), "pages": "1", "name": "a.pdf"})
    command = [sys.executable, "-m", "pixtral_cli.images.converter", order]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout
        out = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_maxrss, out


@pytest.mark.parametrize("box", ["0 0 200000 200000", "0 0 200000 1", "0 0 1 200000", "-200000 -200000 0 0", "0 0 0 0"])
def test_a_page_of_any_size_in_points_costs_no_more_than_another(tmp_path: Path, box: str) -> None:
    plain, huge = tmp_path / "plain.pdf", tmp_path / "huge.pdf"
    plain.write_bytes(pdf(b"", "null"))
    huge.write_bytes(pdf(b"1 0 0 rg 0 0 200000 200000 re f", "null", box))
    cost, out = peak(huge)
    assert b'"size"' in out
    assert cost - peak(plain)[0] < 100_000
    (image,) = images.load_all(str(huge), typed=True)
    assert 1 <= max(image.size) <= 2048
