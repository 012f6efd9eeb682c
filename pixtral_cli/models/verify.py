"""Is a checkpoint sound? A quick look at the form of its files, and a full comparison with recorded hashes. Mends nothing."""

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

CHUNK = 4 << 20
GIT_BLOB = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")
SUMS = "SHA256SUMS"
MAX_TOKENIZER_BYTES, MAX_TOKENIZER_VALUES = 64_000_000, 4_000_000


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes done of all the bytes of a phase. `note` is for people, when something unusual goes on."""

    phase: Literal["Checking", "Downloading"]
    file: str
    done: int
    total: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class FileCheck:
    """The result of checking a file: ok (as recorded), unknown (well formed, no hash recorded), damaged or missing."""

    file: str
    size: int
    state: Literal["ok", "unknown", "damaged", "missing"]
    detail: str


def quick_check(folder: Path) -> FileCheck | None:
    """The first file of a model that is missing, cut short or no model file; None when its form is sound.

    Reads headers alone, so it takes a millisecond for any size; flipped bits are found by `full_check` only.
    """
    for name in layout.missing(folder):
        return FileCheck(name, 0, "missing", "is missing")
    for file in layout.files(folder):
        if wrong := format_problem(file):
            return FileCheck(file.name, file.stat().st_size, "damaged", wrong)
    return None


def full_check(folder: Path) -> Generator[Progress | FileCheck, None, None]:
    """Read every byte of a model and compare with the hashes recorded when it was downloaded."""
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
    """The hash that was recorded for a file: a SHA-256, or git's hash of small files. None when none was recorded.

    The hub's cache names a blob by its hash, `snapshot_download(local_dir=…)` leaves a note beside, and a folder may
    bring a SHA256SUMS.
    """
    digests = [file.readlink().name] if file.is_symlink() else []
    note = file.parent / ".cache" / "huggingface" / "download" / f"{file.name}.metadata"
    digests += _lines(note)[1:2]
    digests += [
        line.split()[0] for line in _lines(file.parent / SUMS) if line.split()[1:] in ([file.name], ["*" + file.name])
    ]
    return next((digest for digest in digests if SHA256.fullmatch(digest) or GIT_BLOB.fullmatch(digest)), None)


def hasher(digest: str, size: int) -> "hashlib._Hash":
    """A hasher of the kind of `digest`: git's blob hash when it has 40 digits, else SHA-256."""
    if GIT_BLOB.fullmatch(digest):
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    return hashlib.sha256()


def format_problem(file: Path) -> str | None:
    """The fault in a file's format, as the end of a sentence about it; None without one. Reads headers only."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(512)
        if wrong := foreign_content(head):
            return wrong
        if file.suffix == ".safetensors":
            return _safetensors_problem(stream, size)
        if file.suffix == ".json":
            stream.seek(-min(size, 64), 2)
            whole = head.lstrip().startswith(b"{") and stream.read().rstrip().endswith(b"}")
            return None if whole else "is cut short or no JSON"
        if file.suffix == ".txt":
            return _text_problem(head)
        return None if zipfile.is_zipfile(stream) else "is cut short or no PyTorch file"


def _text_problem(head: bytes) -> str | None:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "is no text in UTF-8"
    return None


def foreign_content(head: bytes) -> str | None:
    """The kind of a file with this beginning, if it is one that often arrives in place of weights."""
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
        whole = 8 + length + int(end)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError):
        return "is cut short" if size < 8 + length else "is not a safetensors file: its header makes no sense"
    if size < whole:
        return f"is cut short: {size:,} of {whole:,} bytes"
    return f"has {size - whole:,} bytes too many" if size > whole else None


def _file_check(file: Path, size: int, digest: str | None, computed: str) -> FileCheck:
    wrong = format_problem(file)
    if wrong is None and file.suffix == ".json":
        wrong = _json_problem(file)
    if wrong is None and digest not in (None, computed):
        wrong = "is damaged: its hash is not the recorded one"
    if wrong:
        return FileCheck(file.name, size, "damaged", wrong)
    if digest is None:
        return FileCheck(file.name, size, "unknown", "is well formed; no hash was recorded to compare with")
    return FileCheck(file.name, size, "ok", "is as recorded")


def _json_problem(file: Path) -> str | None:
    try:
        bounded_json.read(file, MAX_TOKENIZER_BYTES, MAX_TOKENIZER_VALUES)
    except ValueError:
        return "is no valid JSON"
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
