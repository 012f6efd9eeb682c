"""Pictures made to hurt and pictures that only look odd, built in memory. Any test may take them from here.

`REFUSED` and `HARMLESS` are the tables for tests that go through the command line: what to write under which name.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

Pixel = tuple[int, int, int]


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as a file of the given kind, in memory."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def corners(width: int = 24, height: int = 16) -> Image.Image:
    """Four quarters: red, green / blue, yellow. No two ways to turn it look alike."""
    picture = Image.new("RGB", (width, height), "red")
    picture.paste((0, 200, 0), (width // 2, 0, width, height // 2))
    picture.paste((0, 0, 255), (0, height // 2, width // 2, height))
    picture.paste((255, 255, 0), (width // 2, height // 2, width, height))
    return picture


def photo(width: int, height: int) -> Image.Image:
    """Something with detail, the same every time."""
    return Image.effect_mandelbrot((width, height), (-2.0, -1.5, 1.0, 1.5), 60).convert("RGB")


# PNG, chunk by chunk


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes, *ancillary: bytes, interlaced: int = 0) -> bytes:
    """A PNG from its raw rows (each with its filter byte), for what no encoder writes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(ancillary)
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def bomb(side: int) -> bytes:
    """A black square of `side` pixels: a few kilobytes that unpack to `side`² bits."""
    return png((side, side), 1, 0, bytes((side // 8 + 1) * side))


def grey16(values: list[int], *ancillary: bytes) -> bytes:
    """One row of 16-bit grey."""
    return png((len(values), 1), 16, 0, b"\0" + struct.pack(f">{len(values)}H", *values), *ancillary)


def crowded_png() -> bytes:
    """A million tiny chunks before the picture."""
    good = encoded(corners(), "PNG")
    return good[:33] + chunk(b"teSt", b"") * 1_000_000 + good[33:]


def with_bad_checksum(data: bytes, kind: bytes) -> bytes:
    """A PNG in which one bit of a chunk's checksum is wrong."""
    at = data.index(kind) - 4
    (length,) = struct.unpack_from(">I", data, at)
    end = at + 8 + length
    return data[:end] + bytes([data[end] ^ 1]) + data[end + 1 :]


def with_right_checksums(data: bytes) -> bytes:
    """A PNG whose checksums fit what was done to it, so that the damage is met further in; others as they are."""
    at, mended = 8, data[:8]
    while data.startswith(b"\x89PNG") and at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        mended += chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length])
        at += length + 12
    return mended + data[at:]


# Other formats


def many_scans() -> bytes:
    """A progressive JPEG of 4,000 × 4,000 whose last scan comes a thousand times."""
    data = encoded(Image.new("L", (4000, 4000), 128), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * 1000 + data[-2:]


def many_blocks() -> bytes:
    """A GIF with a comment of ten million blocks before its picture."""
    data = encoded(corners().convert("P"), "GIF")
    at = data.index(b",", 13 + 3 * (2 << (data[10] & 7)))
    return data[:at] + b"!\xfe" + b"\x01." * 9_900_000 + b"\0" + data[at:]


def huge_jpeg() -> bytes:
    """A JPEG whose header promises 65,000 × 65,000 pixels."""
    data = encoded(corners(), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", 65000, 65000) + data[at + 4 :]


def wide_gif_frame() -> bytes:
    """A GIF whose screen is small and whose first frame is not."""
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", 8, 8, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0)
        + b"\x02\x00;"
    )


def huge_webp() -> bytes:
    """A WebP header that promises 16,384 × 16,384 pixels."""
    extended = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16383).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", 4 + len(extended)) + b"WEBP" + extended


def inflating_text() -> bytes:
    """A PNG with 200 compressed texts of a megabyte each."""
    good = encoded(corners(), "PNG")
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 1_000_000, 9))
    return good[:33] + text * 200 + good[33:]


def fits() -> bytes:
    return (
        b"SIMPLE  =                    T".ljust(80) + b"BITPIX  =                    8".ljust(80) + b"END".ljust(2720)
    )


def psd() -> bytes:
    return b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 20000, 20000, 8, 3)


def eps() -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20000 20000\n%%EndComments\nshowpage\n"


def float_tiff() -> bytes:
    return encoded(Image.new("F", (4, 4), 0.5), "TIFF")


def heic() -> bytes:
    """The first box of what a phone writes."""
    return struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + b"\0" * 64


HTML = b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n"
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>\n'
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"  # fmt: skip


def adobe_cmyk(colours: list[tuple[int, int, int, int]]) -> bytes:
    """A CMYK JPEG as Photoshop writes it (inverted, marked "Adobe"): one 16-pixel square a colour."""
    picture = Image.new("CMYK", (16 * len(colours), 16))
    for place, colour in enumerate(colours):
        picture.paste(colour, (16 * place, 0, 16 * place + 16, 16))
    return encoded(picture, "JPEG", quality=95)


def animation(kind: str) -> bytes:
    """Three frames: red, green, blue."""
    frames = [Image.new("RGB", (20, 10), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **lossless)


@dataclass(frozen=True, slots=True)
class Case:
    """A file for a test: its name, its bytes, and a word that the error must hold (empty for harmless ones)."""

    file: str
    build: Callable[[], bytes]
    says: str = ""

    def write(self, folder: Path) -> Path:
        path = folder / self.file
        path.write_bytes(self.build())
        return path


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


REFUSED = (
    Case("400-megapixels.png", lambda: bomb(20_000), "20000 × 20000"),
    Case("169-megapixels.png", lambda: bomb(13_000), "13000 × 13000"),
    Case("fits.png", fits, "FITS"),
    Case("psd.png", psd, "Photoshop"),
    Case("eps.png", eps, "EPS"),
    Case("empty.png", lambda: b"", "empty"),
    Case("page.jpg", lambda: HTML, "looks like HTML"),
    Case("words.jpg", lambda: b"Dear diary,\n", "looks like text"),
    Case("cut.jpg", lambda: _cut(encoded(photo(640, 480), "JPEG")), "cut short"),
    Case("cut-progressive.jpg", lambda: _cut(encoded(photo(640, 480), "JPEG", progressive=True)), "cut short"),
    Case("cut.png", lambda: _cut(encoded(photo(640, 480), "PNG")), "cut short"),
    Case("cut.gif", lambda: _cut(encoded(photo(640, 480), "GIF")), "cut short"),
    Case("cut.webp", lambda: _cut(encoded(photo(640, 480), "WEBP")), "cut short"),
    Case("checksum.png", lambda: with_bad_checksum(encoded(corners(), "PNG"), b"IDAT"), "checksum"),
    Case("float.tiff", float_tiff, "TIFF"),
    Case("drawing.svg", lambda: SVG, "SVG"),
    Case("pointer.png", lambda: LFS_POINTER, "Git LFS"),
    Case("heavy.png", lambda: encoded(corners(), "PNG") + bytes(20_000_000), "20 MB"),
    Case("scans.jpg", many_scans, "too many scans"),
    Case("blocks.gif", many_blocks, "too many blocks"),
    Case("chunks.png", crowded_png, "damaged"),
    Case("texts.png", inflating_text, "damaged"),
    Case("frame.gif", wide_gif_frame, "65535 × 65535"),
    Case("promise.jpg", huge_jpeg, "65000 × 65000"),
    Case("canvas.webp", huge_webp, "16384 × 16384"),
)

HARMLESS = (
    Case("one.png", lambda: encoded(Image.new("RGB", (1, 1)), "PNG")),
    Case("tall.png", lambda: encoded(Image.new("RGB", (1, 10_000)), "PNG")),
    Case("wide.png", lambda: encoded(Image.new("RGB", (10_000, 1)), "PNG")),
    Case("really-a-jpeg.png", lambda: encoded(corners(), "JPEG")),
    Case("grey16.png", lambda: grey16(list(range(0, 65536, 257)))),
    Case("one-bit.png", lambda: encoded(corners().convert("1"), "PNG")),
    Case("la.png", lambda: encoded(corners().convert("LA"), "PNG")),
    Case("cmyk.jpg", lambda: adobe_cmyk([(0, 0, 0, 0)])),
    Case("animated.gif", lambda: animation("GIF")),
    Case("animated.webp", lambda: animation("WEBP")),
    Case("broken-exif.jpg", lambda: encoded(corners(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff")),
    Case("two-in-one.jpg", lambda: encoded(corners(), "MPO", save_all=True, append_images=[corners()])),
)


def write_all(folder: Path) -> Iterator[tuple[Case, Path]]:
    for case in (*REFUSED, *HARMLESS):
        yield case, case.write(folder)
