"""Decodes pictures of rarer formats, PDF pages and frames of videos in a process of their own, with its memory and time limited.

That process is `images.converter`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pixtral_cli.errors import ImageError
from pixtral_cli.extras import install_command
from pixtral_cli.images import rare_formats
from pixtral_cli.images.formats import (
    MAX_IMAGE_BYTES,
    SAVE_AGAIN,
    check_size,
    display_name,
    refuse,
    refuse_too_many_bytes,
)

CONVERSION_TIMEOUT = 60.0  # seconds for all pages that are asked for
MISSING_PACKAGE_ERRORS = {
    "pillow_heif": ("reading HEIC needs one more package", f"Get it: {install_command('heic')}"),
    "av": ("reading a frame of a video needs one more package", f"Get it: {install_command('video')}"),
    "pypdfium2": ("reading PDF pages needs one more package", f"Get it: {install_command('pdf')}"),
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A page as PNG or JPEG. `page` is its number as in "#3", "" for a file without pages."""

    data: bytes = field(repr=False)
    page: str = ""


def convert(data: bytes, kind: str, where: str, page: int = 0) -> tuple[bytes, tuple[str, ...]]:
    """A picture as PNG or JPEG, upright and in sRGB, and notes for the user. `page` 0 is the first page, with a note if
    there are others. Raises ImageError that names `where`; the size is checked before any decoder runs.
    """
    if kind == "PDF":
        refuse(where, "a PDF, of which pages can be sent", "Name it by its path: --image report.pdf#1")
    if kind == "HEIF" and not _is_installed("pillow_heif"):
        refuse(where, *MISSING_PACKAGE_ERRORS["pillow_heif"])
    stored = _stored_size(data, kind, where, page or 1)
    check_size(stored.width, stored.height, where)
    [picture] = _run_converter({"kind": kind, "page": page or 1}, data, where)
    if stored.pages == 1 or page:
        return picture.data, ()
    return picture.data, (f"page 1 of {stored.pages}; by its path, all are read, or one as #2",)


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # sys.modules has None for it
        return False


def count_pages(data: bytes, where: str) -> int:
    """The number of pages of a TIFF. Raises ImageError."""
    if rare_formats.detect_format(data) != "TIFF":
        refuse(where, "this file has no pages", "Name it without #.")
    return _stored_size(data, "TIFF", where, 1).pages


def full_size_pages(data: bytes, where: str) -> tuple[int, ...]:
    """The numbers of the pages of a TIFF that are not reduced copies of others; (1,) for any other file. Raises ImageError."""
    return _stored_size(data, "TIFF", where, 1).full_size_pages if rare_formats.detect_format(data) == "TIFF" else (1,)


def _stored_size(data: bytes, kind: str, where: str, page: int) -> rare_formats.StoredSize:
    if len(data) > MAX_IMAGE_BYTES:
        refuse_too_many_bytes(where)
    try:
        return rare_formats.size(data, kind, page)
    except rare_formats.MalformedFile as error:
        refuse(where, f"this {display_name(kind)} {error}", SAVE_AGAIN, error)


def pdf_pages(source: Path | bytes, pages: str, name: str) -> list[Picture]:
    """The pages `pages` of a PDF (such as `2-4,7`; "" for all of a short document) as pictures. Raises ImageError."""
    path = str(source) if isinstance(source, Path) else ""
    request = {"kind": "PDF", "path": path, "pages": pages, "name": name}
    return _run_converter(request, b"" if isinstance(source, Path) else source, name)


def video_frame(path: Path, seconds: float, name: str) -> bytes:
    """The frame of a video that is shown so many seconds after its beginning. Raises ImageError."""
    [picture] = _run_converter({"kind": "video", "path": str(path), "seconds": seconds, "name": name}, b"", name)
    return picture.data


def _run_converter(request: dict[str, Any], data: bytes, where: str) -> list[Picture]:
    import pixtral_cli

    kind = display_name(request["kind"])
    package = str(Path(pixtral_cli.__file__).parents[1])
    command = [sys.executable, "-P", "-m", "pixtral_cli.images.converter", json.dumps(request)]
    try:
        completed = subprocess.run(
            command,
            input=data,
            capture_output=True,
            timeout=CONVERSION_TIMEOUT,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])},
        )
    except subprocess.TimeoutExpired as error:
        refuse(
            where,
            f"reading this {kind} takes longer than {CONVERSION_TIMEOUT:.0f} seconds",
            "Convert it to PNG first.",
            error,
        )
    return list(_parse_output(completed.stdout, where, kind))


def _parse_output(out: bytes, where: str, kind: str) -> Iterator[Picture]:
    at, completed = 0, 0
    while (end := out.find(b"\n", at)) >= 0:
        header = json.loads(out[at:end])
        at = end + 1
        if error := header.get("error"):
            if error == "image":  # a page that is not there
                raise ImageError(header["what"], header["hint"])
            _refuse_failed(where, kind, error, header.get("what", ""))
        if "size" in header:
            yield Picture(out[at : at + header["size"]], header["name"])
            at += header["size"]
            completed += 1
    if not completed:  # the decoder ended the process
        refuse(where, f"this {kind} is damaged", SAVE_AGAIN)


def _refuse_failed(where: str, kind: str, error: str, what: str) -> None:
    if error == "missing" and what in MISSING_PACKAGE_ERRORS:
        refuse(where, *MISSING_PACKAGE_ERRORS[what])
    if error == "memory":
        refuse(where, f"reading this {kind} takes too much memory", "Convert it to PNG first.")
    if error == "refused":
        way = "Save it without its password." if "password" in what else "Convert it to PNG first."
        refuse(where, f"this {kind} cannot be read: {what}", way)
    cut = "truncated" in what.lower() or "cut short" in what.lower()
    refuse(where, f"this {kind} is {'cut short' if cut else 'damaged'}", SAVE_AGAIN)
