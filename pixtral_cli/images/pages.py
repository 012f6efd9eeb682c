"""The page numbers in `report.pdf#2-4` and `scan.tif#2`. Reading pages is in `isolated`."""

import re

from pixtral_cli.errors import ImageError
from pixtral_cli.util.sanitize import visible

MAX_DEFAULT_PAGES = 40  # a longer PDF is attached only page by page; so many fill Pixtral's context window
_PAGES = re.compile(r"(?i)(.*\.(pdf|tiff?))(?:#(\d{1,6}(?:-\d{1,6})?(?:,\d{1,6}(?:-\d{1,6})?){0,99}))?", re.DOTALL)


def split_pages(name: str) -> tuple[str, str] | None:
    """The path and the pages of `report.pdf#2-4`; None for a name that is no PDF's or TIFF's."""
    match = _PAGES.fullmatch(name)
    return (match[1], match[3] or "") if match else None


def is_pdf(path: str) -> bool:
    """Whether a path ends as a PDF's does."""
    return path.lower().endswith(".pdf")


def check_count(count: int, name: str) -> None:
    """Raises ImageError for a document of which all pages are too many."""
    if count > MAX_DEFAULT_PAGES:
        raise ImageError(f"{visible(name)} has {count} pages", f"Say which: {visible(name)}#1-{MAX_DEFAULT_PAGES}")


def page_numbers(pages: str, count: int, name: str) -> list[int]:
    """Page numbers from `2-4,7`, or all of a short document. Raises ImageError for a page that is not there."""
    if not pages:
        check_count(count, name)
    numbers: list[int] = []
    for piece in pages.split(",") if pages else [f"1-{count}"]:
        first, _, last = piece.partition("-")
        low, high = int(first), int(last or first)
        if not 1 <= low <= high <= count:
            valid = "one page" if count == 1 else f"pages 1 to {count}"
            raise ImageError(f"{visible(name)} has no page {piece}", f"It has {valid}")
        numbers += range(low, high + 1)
    return list(dict.fromkeys(numbers))
