"""Pages of a PDF as pictures (the extra `pdf`). Renders with pdfium; what a picture may be is for `chat.images` to say."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pixtral_cli.errors import ImageError
from pixtral_cli.util.sanitize import visible

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

MAX_DEFAULT_PAGES = 8  # a PDF of more pages is attached only page by page
RENDERED_SIDE = 2048  # pixels of a page's longer side: twice what is sent, so that a crop reads small print
_PAGES = re.compile(r"(?i)(.*\.pdf)(?:#(\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*))?", re.DOTALL)


def split_pages(name: str) -> tuple[str, str] | None:
    """The path and the pages of `report.pdf#2-4`; None if it names no PDF."""
    found = _PAGES.fullmatch(name)
    return (found[1], found[2] or "") if found else None


def page_numbers(pages: str, count: int, name: str) -> list[int]:
    """Page numbers from `2-4,7`, or all of a short document. Raises ImageError for a page that is not there."""
    if not pages and count > MAX_DEFAULT_PAGES:
        raise ImageError(f"{visible(name)} has {count} pages", f"Say which: {visible(name)}#1-{MAX_DEFAULT_PAGES}")
    numbers: list[int] = []
    for piece in pages.split(",") if pages else [f"1-{count}"]:
        first, _, last = piece.partition("-")
        low, high = int(first), int(last or first)
        if not 1 <= low <= high <= count:
            there = "one page" if count == 1 else f"pages 1 to {count}"
            raise ImageError(f"{visible(name)} has no page {piece}", f"It has {there}")
        numbers += range(low, high + 1)
    return list(dict.fromkeys(numbers))


def render_pages(path: Path, pages: str) -> Iterator[tuple[bytes, str]]:
    """The chosen pages as PNG bytes, each with its name. Raises ImageError."""
    document = _open(path)
    try:
        for number in page_numbers(pages, len(document), path.name):
            yield _page(document, number), f"{path.name}#{number}"
    finally:
        document.close()


def _open(path: Path) -> "PdfDocument":
    try:
        from pypdfium2 import PdfDocument, PdfiumError
    except ImportError as error:
        raise ImageError("PDF pages need pypdfium2", "Install it: pip install 'pixtral[pdf]'") from error
    try:
        return PdfDocument(path)
    except (PdfiumError, OSError) as error:
        reason = "it needs a password" if "password" in str(error).lower() else "it is not a PDF or is damaged"
        reason = "no such file" if not path.exists() else reason
        raise ImageError(f"{visible(path.name)} cannot be read: {reason}", "Check the file") from error


def _page(document: "PdfDocument", number: int) -> bytes:
    page = document[number - 1]
    width, height = page.get_size()
    out = io.BytesIO()
    page.render(scale=RENDERED_SIDE / max(width, height, 1)).to_pil().convert("RGB").save(out, "PNG")
    return out.getvalue()
