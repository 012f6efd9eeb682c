"""Parses the headers of the rarer formats, so that the size is checked before a decoder runs. Decodes nothing.

TIFF 6.0 and BigTIFF, BMP, ICO, PNM, JPEG 2000 (ISO 15444-1), HEIF and AVIF (ISO 14496-12 boxes).
"""

import re
import struct
from collections.abc import Iterator, Set
from dataclasses import dataclass

MAX_PAGES = 1000  # of a TIFF
MAX_SIDE = 65_500  # pixels; the limit of JPEG, to which some are converted
MAX_ICONS = 64
MAX_BOXES = 4096
MAX_STRIPS = 1_000_000  # strips or tiles of a page


class MalformedFile(Exception):
    """The structure of the file is invalid; the message is the end of "this TIFF …"."""


@dataclass(frozen=True, slots=True)
class StoredSize:
    """Width and height of a picture in pixels as stored, and the number of pages in the file.

    `full_size_pages`: the numbers of the pages that are not reduced copies of others, such as thumbnails.
    """

    width: int
    height: int
    pages: int = 1
    full_size_pages: tuple[int, ...] = (1,)


def detect_format(data: bytes) -> str:
    """Pillow's name of a file's format, according to its first bytes; "" for an unsupported one."""
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if data.startswith(b"BM") and data[6:10] == bytes(4):
        return "BMP"
    if data.startswith(b"\0\0\1\0"):
        return "ICO"
    if re.match(rb"P[1-6][\s#]", data):
        return "PPM"
    if data.startswith((b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")):
        return "JPEG2000"
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        return "AVIF" if brand in (b"avif", b"avis") else "HEIF" if brand in HEIF_BRANDS else ""
    return "PDF" if data.startswith(b"%PDF-") else ""


HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def size(data: bytes, kind: str, page: int = 1) -> StoredSize:
    """Size and pages from the file's header. Raises MalformedFile."""
    try:
        stored = _READERS[kind](data, page)
    except (IndexError, OverflowError, struct.error) as error:  # an offset beyond the file, or beyond any file
        raise MalformedFile("is cut short") from error
    if not 0 < stored.width <= MAX_SIDE or not 0 < stored.height <= MAX_SIDE:
        raise MalformedFile(f"is {stored.width} × {stored.height} pixels")
    return stored


# TIFF


def _tiff(data: bytes, page: int) -> StoredSize:
    """Walk the chain of directories and check that all strips or tiles of page number `page` are in the file."""
    order, big = ("<" if data[:2] == b"II" else ">"), data[2:4] in (b"+\0", b"\0+")
    at = struct.unpack_from(f"{order}Q", data, 8)[0] if big else struct.unpack_from(f"{order}I", data, 4)[0]
    visited: set[int] = set()
    page_tags: dict[int, list[int]] = {}
    full_size_pages: list[int] = []
    while at:
        if at in visited:
            raise MalformedFile("has pages that lead back to themselves")
        if len(visited) == MAX_PAGES:
            raise MalformedFile(f"has more than {MAX_PAGES:,} pages")
        visited.add(at)
        tags, at = _directory(data, at, order, big, _TIFF_TAGS if len(visited) == page else {_SUBFILE})
        if len(visited) == page:
            page_tags = tags
        if not tags.get(_SUBFILE, [0])[0] & _REDUCED:
            full_size_pages.append(len(visited))
    if not page_tags:
        raise MalformedFile(f"has no page {page}; it has {len(visited)}")
    width, height = (page_tags.get(tag, [0])[0] for tag in (256, 257))
    _check_strips(page_tags, len(data))
    if page_tags.get(277, [1])[0] > 8 or max(page_tags.get(258, [1])) > 64:
        raise MalformedFile("has more channels or bits than a picture")
    if page_tags.get(322, [0])[0] * page_tags.get(323, [0])[0] > MAX_SIDE * 1024:
        raise MalformedFile("has tiles that are too large")
    return StoredSize(width, height, len(visited), tuple(full_size_pages) or (1,))


_SUBFILE, _REDUCED = 254, 1  # NewSubfileType, and its bit of a reduced copy of another page
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_TAGS = {_SUBFILE, 256, 257, 258, 273, 277, 279, 322, 323, 324, 325}


def _directory(data: bytes, at: int, order: str, big: bool, tag_filter: Set[int]) -> tuple[dict[int, list[int]], int]:
    """The tags of one directory that are in `tag_filter`, and the offset of the next directory."""
    count_form, entry, value_bytes = ("Q", 20, 8) if big else ("H", 12, 4)
    (count,) = struct.unpack_from(order + count_form, data, at)
    start = at + struct.calcsize(order + count_form)
    if count > 4096:
        raise MalformedFile("has too many tags")
    tags: dict[int, list[int]] = {}
    for place in range(start, start + count * entry, entry):
        tag, kind = struct.unpack_from(f"{order}HH", data, place)
        (number,) = struct.unpack_from(order + ("Q" if big else "I"), data, place + 4)
        value = place + entry - value_bytes
        if tag not in tag_filter or kind not in _TIFF_TYPES or not number:
            continue
        if number > MAX_STRIPS:
            raise MalformedFile("has too many pieces")
        form = f"{order}{number}{_TIFF_TYPES[kind]}"
        if struct.calcsize(form) > value_bytes:
            (value,) = struct.unpack_from(order + ("Q" if big else "I"), data, value)
        tags[tag] = list(struct.unpack_from(form, data, value))
    (next_directory,) = struct.unpack_from(order + ("Q" if big else "I"), data, start + count * entry)
    return tags, next_directory


def _check_strips(tags: dict[int, list[int]], length: int) -> None:
    for offsets, sizes in ((273, 279), (324, 325)):
        for offset, bytes_ in zip(tags.get(offsets, ()), tags.get(sizes, ()), strict=False):
            if offset + bytes_ > length:
                raise MalformedFile("is cut short")


# BMP, ICO, PNM


def _bmp(data: bytes, page: int) -> StoredSize:
    (pixels,) = struct.unpack_from("<I", data, 10)
    width, height, bits, compression = _dib(data, 14)
    if compression == 0 and pixels + (width * bits + 31) // 32 * 4 * height > len(data):
        raise MalformedFile("is cut short")
    return StoredSize(width, height)


def _dib(data: bytes, at: int) -> tuple[int, int, int, int]:
    """Width, height, bits a pixel and compression of a bitmap header of any version."""
    (length,) = struct.unpack_from("<I", data, at)
    if length == 12:
        return *struct.unpack_from("<HH", data, at + 4), struct.unpack_from("<H", data, at + 10)[0], 0
    if length not in (40, 52, 56, 64, 108, 124):
        raise MalformedFile("is damaged")
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, at + 4)
    return width, abs(height), bits, compression


def _ico(data: bytes, page: int) -> StoredSize:
    """The size of the largest picture, from the pictures' own headers: the directory may be wrong."""
    (count,) = struct.unpack_from("<H", data, 4)
    if not 0 < count <= MAX_ICONS:
        raise MalformedFile("is damaged")
    sizes = []
    for index in range(count):
        length, at = struct.unpack_from("<II", data, 6 + 16 * index + 8)
        if at + length > len(data):
            raise MalformedFile("is cut short")
        if data[at : at + 8] == b"\x89PNG\r\n\x1a\n":
            sizes.append(struct.unpack_from(">II", data, at + 16))
        else:
            width, height, _, _ = _dib(data, at)
            sizes.append((width, height // 2))  # the mask lies below
    return StoredSize(*max(sizes, key=lambda size: size[0] * size[1]))


_PNM = re.compile(rb"P[1-6](?:\s|#[^\n]{0,500}\n){1,50}?(\d{1,9})(?:\s|#[^\n]{0,500}\n){1,50}?(\d{1,9})\s")


def _pnm(data: bytes, page: int) -> StoredSize:
    match = _PNM.match(data[:60_000])
    if not match:
        raise MalformedFile("is damaged")
    width, height = int(match[1]), int(match[2])
    min_bytes = {b"P4": (width + 7) // 8 * height, b"P5": width * height, b"P6": 3 * width * height}.get(data[:2], 0)
    if match.end() + min_bytes > len(data):
        raise MalformedFile("is cut short")
    return StoredSize(width, height)


# Formats of boxes


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, offset of the content and end of each box between two positions. Raises MalformedFile."""
    at = start
    for _ in range(MAX_BOXES):
        if at + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        content = at + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, content)
            content += 8
        stop = at + length if length else end
        if stop > end or stop < content:
            raise MalformedFile("is cut short")
        yield kind, content, stop
        at = stop
    raise MalformedFile("has too many boxes")


def _jpeg2000(data: bytes, page: int) -> StoredSize:
    """The size in the codestream, which the decoder allocates; the size in the JP2 header must be the same."""
    start, declared = 0, None
    if not data.startswith(b"\xff\x4f"):
        for kind, content, stop in boxes(data, 0, len(data)):
            if kind == b"jp2h":
                for inner_kind, at, _ in boxes(data, content, stop):
                    if inner_kind == b"ihdr":
                        declared = struct.unpack_from(">II", data, at)[::-1]
            elif kind == b"jp2c":
                start = content
                break
    if data[start : start + 4] != b"\xff\x4f\xff\x51":
        raise MalformedFile("is damaged")
    right, bottom, left, top, tile_width, tile_height = struct.unpack_from(">6I", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    size = (right - left, bottom - top)
    if (declared and declared != size) or not 0 < components <= 5 or not tile_width or not tile_height:
        raise MalformedFile("contradicts itself about its size")
    return StoredSize(*size)


def _heif(data: bytes, page: int) -> StoredSize:
    """The largest size of any item in the file; a grid has the size of its assembled tiles."""
    sizes: list[tuple[int, int]] = []
    for kind, content, stop in boxes(data, 0, len(data)):
        if kind != b"meta":
            continue
        for outer, properties, end in boxes(data, content + 4, stop):
            if outer != b"iprp":
                continue
            for inner_kind, start, last in boxes(data, properties, end):
                if inner_kind == b"ipco":
                    items = boxes(data, start, last)
                    sizes += [struct.unpack_from(">II", data, at + 4) for name, at, _ in items if name == b"ispe"]
    if not sizes:
        raise MalformedFile("is damaged")
    return StoredSize(*max(sizes, key=lambda size: size[0] * size[1]))


_READERS = {
    "TIFF": _tiff, "BMP": _bmp, "ICO": _ico, "PPM": _pnm, "JPEG2000": _jpeg2000, "AVIF": _heif, "HEIF": _heif,
}  # fmt: skip
