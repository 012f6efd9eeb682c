"""Sizes and structure of the formats beyond PNG, JPEG, WebP and GIF, read from their bytes before a decoder sees them.

TIFF 6.0 and BigTIFF, BMP, ICO, PNM, JPEG 2000 (ISO 15444-1), HEIF and AVIF (ISO 14496-12 boxes). Decodes nothing.
"""

import re
import struct
from collections.abc import Iterator, Set
from dataclasses import dataclass

MAX_PAGES = 1000  # of a TIFF
MAX_SIDE = 65_500  # what JPEG, to which some are converted, can hold
MAX_ICONS = 64
MAX_BOXES = 4096
MAX_PIECES = 1_000_000  # strips or tiles of a page


class Malformed(Exception):
    """The structure breaks its own rules; the text is the end of "this TIFF …"."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Pixels of the picture as stored, and how many pages or pictures the file holds.

    `whole`: the numbers of the pages that are no smaller copies of others, such as thumbnails.
    """

    width: int
    height: int
    pages: int = 1
    whole: tuple[int, ...] = (1,)


def kind_of(data: bytes) -> str:
    """Pillow's name of the format that a file begins like; "" for one that is not read."""
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


def size(data: bytes, kind: str, page: int = 1) -> Stored:
    """Width, height and pages by the format's own header. Raises Malformed, IndexError or struct.error."""
    stored = _READERS[kind](data, page)
    if not 0 < stored.width <= MAX_SIDE or not 0 < stored.height <= MAX_SIDE:
        raise Malformed(f"is {stored.width} × {stored.height} pixels")
    return stored


# TIFF


def _tiff(data: bytes, page: int) -> Stored:
    """Walk the chain of directories, each seen once; check that all pieces of page number `page` are in the file."""
    order, big = ("<" if data[:2] == b"II" else ">"), data[2:4] in (b"+\0", b"\0+")
    at = struct.unpack_from(f"{order}Q", data, 8)[0] if big else struct.unpack_from(f"{order}I", data, 4)[0]
    seen: set[int] = set()
    page_tags: dict[int, list[int]] = {}
    whole: list[int] = []
    while at:
        if at in seen:
            raise Malformed("has pages that lead back to themselves")
        if len(seen) == MAX_PAGES:
            raise Malformed(f"has more than {MAX_PAGES:,} pages")
        seen.add(at)
        tags, at = _directory(data, at, order, big, _TIFF_TAGS if len(seen) == page else {_SUBFILE})
        if len(seen) == page:
            page_tags = tags
        if not tags.get(_SUBFILE, [0])[0] & _REDUCED:
            whole.append(len(seen))
    if not page_tags:
        raise Malformed(f"has no page {page}; it has {len(seen)}")
    width, height = (page_tags.get(tag, [0])[0] for tag in (256, 257))
    _check_pieces(page_tags, len(data))
    if page_tags.get(277, [1])[0] > 8 or max(page_tags.get(258, [1])) > 64:
        raise Malformed("has more channels or bits than a picture")
    if page_tags.get(322, [0])[0] * page_tags.get(323, [0])[0] > MAX_SIDE * 1024:
        raise Malformed("has tiles that are too large")
    return Stored(width, height, len(seen), tuple(whole) or (1,))


_SUBFILE, _REDUCED = 254, 1  # NewSubfileType, and its bit of a reduced copy of another page
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_TAGS = {_SUBFILE, 256, 257, 258, 273, 277, 279, 322, 323, 324, 325}


def _directory(data: bytes, at: int, order: str, big: bool, wanted: Set[int]) -> tuple[dict[int, list[int]], int]:
    """The tags of one directory that are wanted, and where the next one begins."""
    count_form, entry, value_bytes = ("Q", 20, 8) if big else ("H", 12, 4)
    (count,) = struct.unpack_from(order + count_form, data, at)
    start = at + struct.calcsize(order + count_form)
    if count > 4096:
        raise Malformed("has too many tags")
    tags: dict[int, list[int]] = {}
    for place in range(start, start + count * entry, entry):
        tag, kind = struct.unpack_from(f"{order}HH", data, place)
        (number,) = struct.unpack_from(order + ("Q" if big else "I"), data, place + 4)
        value = place + entry - value_bytes
        if tag not in wanted or kind not in _TIFF_TYPES or not number:
            continue
        if number > MAX_PIECES:
            raise Malformed("has too many pieces")
        form = f"{order}{number}{_TIFF_TYPES[kind]}"
        if struct.calcsize(form) > value_bytes:
            (value,) = struct.unpack_from(order + ("Q" if big else "I"), data, value)
        tags[tag] = list(struct.unpack_from(form, data, value))
    (following,) = struct.unpack_from(order + ("Q" if big else "I"), data, start + count * entry)
    return tags, following


def _check_pieces(tags: dict[int, list[int]], length: int) -> None:
    for offsets, sizes in ((273, 279), (324, 325)):
        for offset, bytes_ in zip(tags.get(offsets, ()), tags.get(sizes, ()), strict=False):
            if offset + bytes_ > length:
                raise Malformed("is cut short")


# BMP, ICO, PNM


def _bmp(data: bytes, page: int) -> Stored:
    (pixels,) = struct.unpack_from("<I", data, 10)
    width, height, bits, compression = _dib(data, 14)
    if compression == 0 and pixels + (width * bits + 31) // 32 * 4 * height > len(data):
        raise Malformed("is cut short")
    return Stored(width, height)


def _dib(data: bytes, at: int) -> tuple[int, int, int, int]:
    """Width, height, bits a pixel and compression of a bitmap header of any version."""
    (length,) = struct.unpack_from("<I", data, at)
    if length == 12:
        return *struct.unpack_from("<HH", data, at + 4), struct.unpack_from("<H", data, at + 10)[0], 0
    if length not in (40, 52, 56, 64, 108, 124):
        raise Malformed("is damaged")
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, at + 4)
    return width, abs(height), bits, compression


def _ico(data: bytes, page: int) -> Stored:
    """The largest of its pictures. Each is looked at: what the directory says of it need not be true."""
    (count,) = struct.unpack_from("<H", data, 4)
    if not 0 < count <= MAX_ICONS:
        raise Malformed("is damaged")
    sizes = []
    for index in range(count):
        length, at = struct.unpack_from("<II", data, 6 + 16 * index + 8)
        if at + length > len(data):
            raise Malformed("is cut short")
        if data[at : at + 8] == b"\x89PNG\r\n\x1a\n":
            sizes.append(struct.unpack_from(">II", data, at + 16))
        else:
            width, height, _, _ = _dib(data, at)
            sizes.append((width, height // 2))  # the mask lies below
    return Stored(*max(sizes, key=lambda size: size[0] * size[1]))


_PNM = re.compile(rb"P[1-6](?:\s|#[^\n]{0,500}\n){1,50}?(\d{1,9})(?:\s|#[^\n]{0,500}\n){1,50}?(\d{1,9})\s")


def _pnm(data: bytes, page: int) -> Stored:
    match = _PNM.match(data[:60_000])
    if not match:
        raise Malformed("is damaged")
    width, height = int(match[1]), int(match[2])
    least = {b"P4": (width + 7) // 8 * height, b"P5": width * height, b"P6": 3 * width * height}.get(data[:2], 0)
    if match.end() + least > len(data):
        raise Malformed("is cut short")
    return Stored(width, height)


# Formats of boxes


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte of the content and end of each box between two positions. Raises Malformed."""
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
            raise Malformed("is cut short")
        yield kind, content, stop
        at = stop
    raise Malformed("has too many boxes")


def _jpeg2000(data: bytes, page: int) -> Stored:
    """The codestream's own size: it is what the decoder allocates; a file around it must say the same."""
    start, declared = 0, None
    if not data.startswith(b"\xff\x4f"):
        for kind, content, stop in boxes(data, 0, len(data)):
            if kind == b"jp2h":
                for inner, at, _ in boxes(data, content, stop):
                    if inner == b"ihdr":
                        declared = struct.unpack_from(">II", data, at)[::-1]
            elif kind == b"jp2c":
                start = content
                break
    if data[start : start + 4] != b"\xff\x4f\xff\x51":
        raise Malformed("is damaged")
    right, bottom, left, top, tile_width, tile_height = struct.unpack_from(">6I", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    size = (right - left, bottom - top)
    if (declared and declared != size) or not 0 < components <= 5 or not tile_width or not tile_height:
        raise Malformed("contradicts itself about its size")
    return Stored(*size)


def _heif(data: bytes, page: int) -> Stored:
    """The largest size that any item of the file has: grids are as large as what their tiles make."""
    sizes: list[tuple[int, int]] = []
    for kind, content, stop in boxes(data, 0, len(data)):
        if kind != b"meta":
            continue
        for outer, properties, end in boxes(data, content + 4, stop):
            if outer != b"iprp":
                continue
            for inner, start, last in boxes(data, properties, end):
                if inner == b"ipco":
                    items = boxes(data, start, last)
                    sizes += [struct.unpack_from(">II", data, at + 4) for name, at, _ in items if name == b"ispe"]
    if not sizes:
        raise Malformed("is damaged")
    return Stored(*max(sizes, key=lambda size: size[0] * size[1]))


_READERS = {
    "TIFF": _tiff, "BMP": _bmp, "ICO": _ico, "PPM": _pnm, "JPEG2000": _jpeg2000, "AVIF": _heif, "HEIF": _heif,
}  # fmt: skip
