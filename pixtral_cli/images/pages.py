"""Parses page numbers in names such as `report.pdf#2-4` and `scan.tif#2`. Pages are read in `isolated`."""

import re

from pixtral_cli.errors import ImageError
from pixtral_cli.util.sanitize import visible

MAX_DEFAULT_PAGES = 40  # of longer documents the pages must be named; 40 pages fill Pixtral's context window
_PAGES = re.compile(r"(?i)(.*\.(pdf|tiff?))(?:#(\d{1,6}(?:-\d{1,6})?(?:,\d{1,6}(?:-\d{1,6})?){0,99}))?", re.DOTALL)


def split_pages(name: str) -> tuple[str, str] | None:
    """The path and the pages of `report.pdf#2-4`; None for a name without the extension of a PDF or TIFF."""
    match = _PAGES.fullmatch(name)
    return (match[1], match[3] or "") if match else None


def is_pdf(path: str) -> bool:
    """Whether a path has the extension of a PDF."""
    return path.lower().endswith(".pdf")


def check_count(count: int, name: str) -> None:
    """Raises ImageError for a document with more than MAX_DEFAULT_PAGES pages."""
    if count > MAX_DEFAULT_PAGES:
        raise ImageError(f"{visible(name)} has {count} pages", f"Say which: {visible(name)}#1-{MAX_DEFAULT_PAGES}")


def page_numbers(pages: str, count: int, name: str) -> list[int]:
    """The page numbers of `2-4,7`, or for "" all of a short document of `count` pages. Raises ImageError for an unknown page."""
    if not pages:
        check_count(count, name)
    numbers: list[int] = []
    for page_range in pages.split(",") if pages else [f"1-{count}"]:
        first, _, last = page_range.partition("-")
        low, high = int(first), int(last or first)
        if high < low <= count:
            raise ImageError(f"{visible(name)}: {page_range} runs backwards", f"Write {high}-{low}, or {low},{high}")
        if not 1 <= low <= high <= count:
            valid = "one page" if count == 1 else f"pages 1 to {count}"
            raise ImageError(f"{visible(name)} has no page {page_range}", f"It has {valid}")
        numbers += range(low, high + 1)
    return list(dict.fromkeys(numbers))
