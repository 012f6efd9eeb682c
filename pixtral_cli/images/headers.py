"""Parses the headers of PNG, JPEG, GIF and WebP: size in pixels, animation, and the structure. Decodes nothing."""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAX_PIXELS = 64 * 1024 * 1024  # a little more than the "64 megapixels" of phones
_MAX_SEGMENTS = 50_000  # chunks, blocks or stray bytes of a file; a normal one has far fewer
_SCAN_BUDGET = 25 * MAX_PIXELS  # pixels times scans; a progressive JPEG has about ten scans


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a picture. `width` and `height` are as stored, before the EXIF orientation is applied.

    `has_large_text`: a PNG with text that Pillow should not decompress. `has_end_marker`: False for a JPEG without one.
    """

    format: str
    width: int
    height: int
    animated: bool = False
    has_large_text: bool = False
    has_end_marker: bool = True


class MalformedHeader(Exception):
    """The structure of a file is not valid; the message is for the user."""


def _png(data: bytes) -> Header:
    """Read all chunks of a PNG of at most MAX_PIXELS and verify their checksums; Pillow does not verify those of IDAT."""
    width, height = struct.unpack_from(">II", data, 16)
    if data[12:16] != b"IHDR":
        raise MalformedHeader("this PNG is damaged")
    if width * height > MAX_PIXELS:
        return Header("PNG", width, height)
    at, animated, has_large_text, unpacked = 8, False, False, 0
    for _ in range(_MAX_SEGMENTS):
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        if zlib.crc32(memoryview(data)[at + 4 : at + 8 + length]) != checksum:
            raise MalformedHeader("this PNG is damaged (wrong checksum)")
        animated |= kind == b"acTL" and struct.unpack_from(">I", data, at + 8)[0] > 1
        if kind in _TEXTS:
            has_large_text |= kind != b"tEXt" or length > _SHORT_TEXT
            unpacked += _decompressed_size(data[at + 8 : at + 8 + length], kind, _MAX_TEXT - unpacked)
            if unpacked >= _MAX_TEXT:
                raise MalformedHeader(f"this PNG is damaged (its text unpacks to over {_MAX_TEXT // 10**6} MB)")
        if kind == b"IEND":
            return Header("PNG", width, height, animated, has_large_text=has_large_text)
        at += length + 12
    raise MalformedHeader("this PNG is damaged")


_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_SHORT_TEXT = 10_000  # bytes of uncompressed text that Pillow may read
_MAX_TEXT = 80_000_000  # bytes of all texts of a file, decompressed


def _decompressed_size(chunk: bytes, kind: bytes, max_size: int) -> int:
    """The decompressed size of a text chunk, counted up to about `max_size`, a megabyte at a time."""
    keyword, _, rest = chunk.partition(b"\0")
    packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\1")
    if not packed:
        return len(chunk)
    stream = rest[1:] if kind == b"zTXt" else rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    inflater, size = zlib.decompressobj(), len(keyword)
    try:
        while stream and size < max_size and not inflater.eof:
            size += len(inflater.decompress(stream, 1 << 20))
            stream = inflater.unconsumed_tail
    except zlib.error:
        return size  # only a reader of the text would need it valid
    return size


def without_texts(data: bytes) -> bytes:
    """A PNG, whose structure was checked, without its text chunks."""
    chunks, at = [data[:8]], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] not in _TEXTS:
            chunks.append(data[at : at + 12 + length])
        at += length + 12
    return b"".join(chunks)


def _jpeg(data: bytes) -> Header:
    """Read the size from the start of frame, and limit the number of scans, each of which decodes the whole picture."""
    width = height = components = scans = 0
    progressive, has_end_marker = False, True
    for marker, at in _segments(data):
        if marker in _JPEG_FRAMES and not components:
            height, width, components = struct.unpack_from(">HHB", data, at + 5)
            progressive = marker in _JPEG_PROGRESSIVE
        elif marker == _START_OF_SCAN:
            scans += 1
            if width * height * (scans - 1) > _SCAN_BUDGET:
                raise MalformedHeader("this JPEG has too many scans")
            if not progressive and data[at + 4] == components:
                has_end_marker = data.find(JPEG_END, at) >= 0
                break
    if not components or not scans:
        raise MalformedHeader("this JPEG is damaged")
    return Header("JPEG", width, height, has_end_marker=has_end_marker)


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and position of each segment up to the end of image; entropy-coded data is skipped."""
    at = 2
    for _ in range(_MAX_SEGMENTS):
        if at + 4 > len(data) or data[at : at + 2] == b"\xff\xd9":
            return
        marker = data[at + 1]
        if data[at] != 0xFF or marker in (0x00, 0xFF):
            at += 1  # stray and fill bytes are allowed between segments
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            yield marker, at
            at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
            if marker == _START_OF_SCAN:
                next_segment = _AFTER_SCAN.search(data, at)
                at = next_segment.start() if next_segment else len(data)
    raise MalformedHeader("this JPEG is damaged")


_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_START_OF_SCAN = 0xDA
JPEG_END = b"\xff\xd9"
_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")


def _gif(data: bytes) -> Header:
    """The size that holds the screen and the first frame, as in Pillow, and whether there is a second frame."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _palette_bytes(flags)
    frames = 0
    for _ in range(_MAX_SEGMENTS):
        block = data[at] if frames == 0 or at < len(data) else 0x3B
        if block == 0x2C:
            frames += 1
            if frames > 1:
                break
            left, top, right, bottom, flags = struct.unpack_from("<HHHHB", data, at + 1)
            width, height = max(width, left + right), max(height, top + bottom)
            at = _skip_blocks(data, at + 11 + _palette_bytes(flags))
        elif block == 0x21:
            at = _skip_blocks(data, at + 2)
        elif block == 0x3B:
            break
        else:
            at += 1
    if not frames:
        raise MalformedHeader("this GIF is damaged (it holds no picture)")
    return Header("GIF", width, height, animated=frames > 1)


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_blocks(data: bytes, at: int) -> int:
    """The position after a chain of sub-blocks. A valid file of 20 MB has at most 80,000 of them."""
    for _ in range(2 * _MAX_SEGMENTS):
        if at >= len(data) or not data[at]:
            return at + 1
        at += data[at] + 1
    raise MalformedHeader("this GIF is damaged (too many blocks)")


def _webp(data: bytes) -> Header:
    """The canvas size, from the first chunk: VP8, VP8L or VP8X (WebP container specification)."""
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise MalformedHeader("this WebP is cut short")
    kind, animated = data[12:16], False
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        animated = bool(data[20] & 2)
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    else:
        raise MalformedHeader("this WebP is damaged")
    return Header("WEBP", width, height, animated)


HEADER_PARSERS = {"PNG": _png, "JPEG": _jpeg, "GIF": _gif, "WEBP": _webp}
