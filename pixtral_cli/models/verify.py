"""Verifies a checkpoint: quickly by the headers of its files, or fully by recorded hashes. Repairs nothing."""

import codecs
import hashlib
import re
import zipfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pixtral_cli.models import layout
from pixtral_cli.util import bounded_json

CHUNK = 4 << 20  # bytes read at a time
GIT_BLOB = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
SUMS = "SHA256SUMS"
MAX_TOKENIZER_BYTES, MAX_TOKENIZER_VALUES = 64_000_000, 4_000_000


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes done of the bytes of a phase. `note`: a line to show about an unusual event, such as a retry; else ""."""

    phase: Literal["Checking", "Downloading"]
    file: str
    done: int
    total: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The result of checking a file: ok (hash as recorded), unknown (well formed, no hash), damaged or missing."""

    file: str
    size: int
    state: Literal["ok", "unknown", "damaged", "missing"]
    detail: str


def quick_check(folder: Path) -> FileCheck | None:
    """The first file of a model that is missing, truncated or malformed; None without one.

    Reads only headers, so it takes about a millisecond; changed bytes are found only by `full_check`.
    """
    for name in layout.missing(folder):
        return FileCheck(name, 0, "missing", "is missing")
    for file in layout.files(folder):
        if problem := format_problem(file):
            return FileCheck(file.name, file.stat().st_size, "damaged", problem)
    return None


def full_check(folder: Path) -> Generator[Progress | FileCheck, None, None]:
    """Read every byte of a model and compare its files with the recorded hashes.

    Yields progress and a result for each file.
    """
    files = layout.files(folder)
    total, done = sum(file.stat().st_size for file in files), 0
    yield from (FileCheck(name, 0, "missing", "is missing") for name in layout.missing(folder))
    for file in files:
        size, digest = file.stat().st_size, recorded_hash(file)
        digester = hasher(digest or "", size)
        with file.open("rb") as stream:
            while piece := stream.read(CHUNK):
                digester.update(piece)
                done += len(piece)
                yield Progress("Checking", file.name, done, total)
        yield _file_check(file, size, digest, digester.hexdigest())


def recorded_hash(file: Path) -> str | None:
    """The recorded hash of a file: its SHA-256, or git's blob hash for a small file. None when none was recorded.

    The hub's cache names blobs by their hash, `snapshot_download(local_dir=…)` writes a metadata file, and a folder may
    hold a SHA256SUMS.
    """
    digests = [file.readlink().name] if file.is_symlink() else []
    metadata = file.parent / ".cache" / "huggingface" / "download" / f"{file.name}.metadata"
    digests += _lines(metadata)[1:2]
    digests += [
        line.split()[0] for line in _lines(file.parent / SUMS) if line.split()[1:] in ([file.name], ["*" + file.name])
    ]
    return next((digest for digest in digests if SHA256.fullmatch(digest) or GIT_BLOB.fullmatch(digest)), None)


def hasher(digest: str, size: int) -> "hashlib._Hash":
    """A new hasher of the kind of `digest`: git's blob hash (SHA-1 with a header) for 40 digits, else SHA-256."""
    if GIT_BLOB.fullmatch(digest):
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    return hashlib.sha256()


def format_problem(file: Path) -> str | None:
    """What is wrong with a file's format, as the predicate of a sentence about the file; None if nothing is.

    Reads only headers.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(512)
        if problem := foreign_content(head):
            return problem
        if file.suffix == ".safetensors":
            return _safetensors_problem(stream, size)
        if file.suffix == ".json":
            stream.seek(-min(size, 64), 2)
            whole = head.lstrip().startswith(b"{") and stream.read().rstrip().endswith(b"}")
            return None if whole else "is cut short or not JSON"
        if file.suffix == ".txt":
            return _text_problem(head)
        return None if zipfile.is_zipfile(stream) else "is cut short or not a PyTorch file"


def _text_problem(head: bytes) -> str | None:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "is not UTF-8 text"
    return None


def foreign_content(head: bytes) -> str | None:
    """What a file that begins so is, where it is something that is often downloaded in place of weights; else None."""
    start = head.lstrip().lower()
    if not start:
        return "is empty"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself"
    return "is a web page (HTML), not a model file" if start.startswith(b"<") else None


def _safetensors_problem(stream: BinaryIO, size: int) -> str | None:
    stream.seek(0)
    length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > layout.MAX_JSON_BYTES:
        return "is not a safetensors file"
    try:
        header: dict[str, Any] = bounded_json.parse(stream.read(length), layout.MAX_JSON_VALUES)
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        expected = 8 + length + int(end)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
        return "is cut short" if size < 8 + length else "is not a safetensors file: its header is not valid"
    if size < expected:
        return f"is cut short: {size:,} of {expected:,} bytes"
    return f"has {size - expected:,} bytes too many" if size > expected else None


def _file_check(file: Path, size: int, digest: str | None, computed: str) -> FileCheck:
    """The result for a file with the hash `computed`; `digest`: the recorded hash."""
    problem = format_problem(file)
    if problem is None and file.suffix == ".json":
        problem = _json_problem(file)
    if problem is None and digest not in (None, computed):
        problem = "is damaged: its hash is not the recorded one"
    if problem:
        return FileCheck(file.name, size, "damaged", problem)
    if digest is None:
        return FileCheck(file.name, size, "unknown", "is well formed; no hash was recorded to compare with")
    return FileCheck(file.name, size, "ok", "is as recorded")


def _json_problem(file: Path) -> str | None:
    try:
        bounded_json.read(file, MAX_TOKENIZER_BYTES, MAX_TOKENIZER_VALUES)
    except ValueError:
        return "is not valid JSON"
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
