"""Reads the bytes of a source: a path (with `~`), or a file://, http(s) or data URL."""

import base64
import binascii
import contextlib
import itertools
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

from pixtral_cli.images.formats import MAX_IMAGE_BYTES, refuse, refuse_too_many_bytes
from pixtral_cli.images.pages import split_pages
from pixtral_cli.util.nearest import nearest
from pixtral_cli.util.sanitize import visible

MAX_COMPARED = 10_000  # names of a folder that a mistyped one is compared with
MAX_DOCUMENT = 200_000_000  # bytes of a PDF
_STDIN_HINT = "Send it on stdin instead: `… | pixtral ask --image - …`."


class SourceBytes(NamedTuple):
    """The bytes of a source, which may be one over the limit; its label in errors; and a short name."""

    data: bytes
    label: str
    name: str


def read(source: str, *, allow_private: bool) -> SourceBytes:
    """Read a source. Raises ImageError, and NetworkError if a URL cannot be fetched."""
    if not source:
        refuse("image", "an empty name", "Name a PNG, JPEG, WebP or GIF file.")
    scheme = match[1].lower() if (match := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", source)) else ""
    if scheme in ("http", "https"):
        from pixtral_cli.util import net

        label = net.redacted_url(source)
        data = net.fetch(source, allow_private=allow_private, limit=MAX_IMAGE_BYTES).data
        return SourceBytes(data, label, label.rpartition("/")[2] or label)
    if scheme == "data":
        return SourceBytes(_decode_data_url(source), "data URL", "data URL")
    if scheme == "file":
        source = _file_url_path(source)
    elif scheme and source[len(scheme) :].startswith("://"):
        refuse(source, f"{scheme}:// is not supported", "Give a path, file://, http://, https:// or a data URL.")
    return SourceBytes(_read_file(source), source, Path(source).name)


def local_path(source: str) -> Path | None:
    """The path of a source, `~` expanded, with the fragment of a file URL; None for other URLs."""
    scheme = match[1].lower() if (match := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", source)) else ""
    if scheme == "file":
        url_without_fragment, mark, fragment = source.partition("#")
        source = _file_url_path(url_without_fragment) + mark + unquote(fragment)
    elif scheme in ("http", "https", "data") or source[len(scheme) :].startswith("://") or not source or "\0" in source:
        return None
    return Path(os.path.expanduser(source))  # noqa: PTH111  see `_read_file`


def check_document(path: Path, source: str) -> None:
    """Raise `ImageError` for a document that is missing, no regular file or too large. Opens nothing."""
    if check_file(path, source) > MAX_DOCUMENT:
        refuse(source, f"larger than {MAX_DOCUMENT // 10**6} MB", "Split it into smaller documents.")


def check_file(path: Path, source: str) -> int:
    """The bytes of a file. Raise `ImageError` for one that is missing or no regular file. Opens nothing."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        why = (error.strerror or "cannot be read").lower() if isinstance(error, OSError) else "not a possible file name"
        refuse(source, why, _hint_for(error, source), error)
    _check_regular_file(status.st_mode, source)
    return status.st_size


def read_stream(stream: BinaryIO, name: str) -> bytes:
    """All bytes of a stream, or one more than the limit. Raises ImageError for an empty one."""
    data = stream.read(MAX_IMAGE_BYTES + 1)
    if not data:
        refuse(name, "nothing came in", "Pipe a picture into it: `pixtral ask --image - … < picture.png`.")
    return data


def _read_file(source: str) -> bytes:
    path = os.path.expanduser(source)  # noqa: PTH111  a user that does not exist is a file not found, not an error of its own
    try:
        _check_regular_file(os.stat(path).st_mode, source)  # noqa: PTH116  before opening: a pipe would wait, a device act
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            _check_regular_file(status.st_mode, source)
            if status.st_size > MAX_IMAGE_BYTES:
                refuse_too_many_bytes(source)
            return file.read(MAX_IMAGE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (
            (error.strerror or "cannot be read").lower() if isinstance(error, OSError) else "not a possible file name"
        )
        refuse(source, reason, _hint_for(error, source), error)


def _check_regular_file(mode: int, source: str) -> None:
    if stat.S_ISDIR(mode):
        refuse(source, "is a directory", "Name a picture in it.")
    if stat.S_ISFIFO(mode):
        refuse(source, "is a pipe, not a file", _STDIN_HINT)
    if not stat.S_ISREG(mode):
        refuse(source, "is a device or socket, not a file", _STDIN_HINT)


def _hint_for(error: Exception, source: str) -> str:
    if isinstance(error, FileNotFoundError):
        if named := _named_otherwise(source):
            return named
        if source.startswith("~") or os.path.isabs(source):  # noqa: PTH117
            return "Check the name."
        return f"Check the name; the current directory is {_working_directory()}."
    if isinstance(error, PermissionError):
        return "Check its permissions with `ls -l`."
    return ""


def _named_otherwise(source: str) -> str:
    """How a file that is there would be named: without pages, with other pages, or with the letters of its own name."""
    path = Path(os.path.expanduser(source))  # noqa: PTH111
    file, mark, _ = source.partition("#")
    with contextlib.suppress(OSError, ValueError):
        if mark and file and Path(os.path.expanduser(file)).is_file():  # noqa: PTH111
            shown = visible(file, 60)
            if split_pages(file):
                return f"{shown} is there; its pages are written {shown}#2, #2-4 or #1,3."
            return f"{shown} is there, and is one picture: pages are for PDF and TIFF."
        names = [entry.name for entry in itertools.islice(path.parent.iterdir(), MAX_COMPARED) if entry.is_file()]
        if near := nearest(path.name, names):
            return f"Did you mean {visible(str(Path(source).with_name(near)), 80)}?"
    return ""


def _working_directory() -> str:
    try:
        return visible(str(Path.cwd()), 200)
    except OSError:
        return "gone"


def _file_url_path(url: str) -> str:
    """The path of file:///p, file://localhost/p or file:/p, its percent escapes decoded."""
    rest = url[len("file:") :]
    if rest.startswith("//"):
        host, _, path = rest[2:].partition("/")
        if host.lower() not in ("", "localhost", "127.0.0.1"):
            refuse(url, "a file on another machine", "Only file:///path is read; copy the picture here first.")
        rest = f"/{path}"
    return os.fsdecode(unquote_to_bytes(rest))


def _decode_data_url(url: str) -> bytes:
    """RFC 2397; whitespace, missing padding and the URL-safe alphabet are accepted."""
    comma = url.find(",")
    if comma < 0:
        refuse("data URL", "malformed, the comma before the data is missing", _DATA_URL_HINT)
    if len(url) - comma > MAX_IMAGE_BYTES * 4 // 3 + 1000:
        refuse_too_many_bytes("data URL")
    data = unquote_to_bytes(url[comma + 1 :])
    if not url[:comma].lower().endswith(";base64"):
        return data
    data = data.translate(_URL_SAFE, b" \t\r\n").rstrip(b"=")
    try:
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except binascii.Error as error:
        refuse("data URL", "malformed, its data is not base64", _DATA_URL_HINT, error)


_URL_SAFE = bytes.maketrans(b"-_", b"+/")  # RFC 4648, section 5
_DATA_URL_HINT = "It looks like data:image/png;base64,iVBORw0…"
