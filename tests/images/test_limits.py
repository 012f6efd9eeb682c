"""The stated limits of pictures are exact: at the limit a file is read, one beyond it is refused by name."""

import base64
import io
import os
import struct
import zlib
from pathlib import Path

import pytest

from pixtral_cli import images
from pixtral_cli.errors import ImageError
from pixtral_cli.images import colour, converter, pages, rare_formats, sources
from pixtral_cli.images.headers import HEADER_PARSERS, MalformedHeader
from tests.server.serving import png

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(more: bytes) -> bytes:
    """A PNG with further chunks behind its header."""
    picture = png()
    return picture[:33] + more + picture[33:]


# Bytes


def test_20_mb_are_read_from_everywhere_and_a_byte_more_from_nowhere(tmp_path: Path) -> None:
    picture = png() + bytes(20_000_000 - len(png()))
    file = tmp_path / "large.png"
    for data, taken in ((picture, True), (picture + b"\0", False)):
        file.write_bytes(data)
        url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        for read in (
            lambda: images.load(str(file)),
            lambda data=data: images.from_bytes(data, "x"),
            lambda data=data: images.from_stdin(io.BytesIO(data)),
            lambda url=url: images.load(url),
        ):
            if taken:
                assert read().size == (2, 1)
            else:
                with pytest.raises(ImageError, match="20 MB"):
                    read()


@pytest.mark.parametrize(("size", "taken"), [(200_000_000, True), (200_000_001, False)])
def test_a_document_has_200_mb(tmp_path: Path, size: int, taken: bool) -> None:
    file = tmp_path / "a.pdf"
    file.touch()
    os.truncate(file, size)
    if taken:
        sources.check_document(file, "a.pdf")
    else:
        with pytest.raises(ImageError, match="larger than 200 MB"):
            sources.check_document(file, "a.pdf")


# Pixels


@pytest.mark.parametrize(("width", "says"), [(8192, "damaged"), (8193, "8193 × 8192")])
def test_64_mebipixels_are_decoded_and_a_column_more_is_refused(width: int, says: str) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 8192, 8, 2, 0, 0, 0))
    with pytest.raises(ImageError, match=says):  # it has no pixels
        images.from_bytes(SIGNATURE + header + chunk(b"IEND"), "x")


def bitmap(width: int, height: int = 1) -> bytes:
    return b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, width, height, 1, 24, 1) + bytes(24)


@pytest.mark.parametrize(("width", "height"), [(65_501, 1), (1, 65_501), (0, 1), (1, 0)])
def test_a_rarer_format_has_sides_of_1_to_65500_pixels(width: int, height: int) -> None:
    assert rare_formats.size(bitmap(65_500, 1), "BMP").width == 65_500
    assert rare_formats.size(bitmap(1, 65_500), "BMP").height == 65_500
    with pytest.raises(rare_formats.MalformedFile, match=f"is {width} × {height} pixels"):
        rare_formats.size(bitmap(width, height), "BMP")


def jpeg_header(scans: int) -> bytes:
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 17, 8, 8192, 8192, 3) + bytes(9)
    return b"\xff\xd8" + frame + (b"\xff\xda" + struct.pack(">HB", 4, 1) + b"\0") * scans + b"\xff\xd9"


def test_a_large_jpeg_has_26_scans_and_no_more() -> None:
    assert HEADER_PARSERS["JPEG"](jpeg_header(26)).width == 8192
    with pytest.raises(MalformedHeader, match="too many scans"):
        HEADER_PARSERS["JPEG"](jpeg_header(27))


# Pieces


def test_a_png_has_50000_chunks_and_no_more() -> None:
    assert images.from_bytes(with_chunks(chunk(b"teST") * 49_997), "x").size == (2, 1)
    with pytest.raises(ImageError, match="damaged"):
        images.from_bytes(with_chunks(chunk(b"teST") * 49_998), "x")


def test_the_texts_of_a_png_unpack_to_80_mb_and_no_more() -> None:
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(999_999), 1))  # a megabyte with its keyword
    assert images.from_bytes(with_chunks(text * 79), "x").size == (2, 1)
    with pytest.raises(ImageError, match="its text unpacks to over 80 MB"):
        images.from_bytes(with_chunks(text * 80), "x")


@pytest.mark.parametrize(
    ("text", "large"),
    [
        (chunk(b"tEXt", bytes(10_000)), False),
        (chunk(b"tEXt", bytes(10_001)), True),
        (chunk(b"zTXt", b"a\0\0" + zlib.compress(b"b")), True),
        (chunk(b"iTXt", b"a\0\0\0\0\0b"), True),
    ],
)
def test_long_and_packed_texts_are_kept_from_the_decoder(text: bytes, large: bool) -> None:
    assert HEADER_PARSERS["PNG"](with_chunks(text)).has_large_text is large


def icons(count: int) -> bytes:
    data = png()
    entries = b"".join(bytes(8) + struct.pack("<II", len(data), 6 + 16 * count) for _ in range(count))
    return b"\0\0\1\0" + struct.pack("<H", count) + entries + data


def test_an_icon_has_64_pictures_and_no_more() -> None:
    assert rare_formats.size(icons(64), "ICO").width == 2
    for count in (0, 65):
        with pytest.raises(rare_formats.MalformedFile):
            rare_formats.size(icons(count), "ICO")


def tiff(page_count: int = 1, *, tags: int = 0, strips: int = 1) -> bytes:
    """A TIFF of 5 × 7 pixels, whose further pages have no tags; `tags` unknown ones, `strips` offsets of 0."""
    long = struct.Struct("<HHII")
    count = 3 + tags
    strips_at = 10 + 12 * count + 4
    first_page = struct.pack("<H", count) + long.pack(256, 4, 1, 5) + long.pack(257, 4, 1, 7)
    first_page += long.pack(273, 4, strips, strips_at if strips > 1 else 0) + long.pack(60_000, 4, 1, 0) * tags
    at = strips_at + 4 * strips
    others = [struct.pack("<HI", 0, at + 6 * (n + 1) if n < page_count - 2 else 0) for n in range(page_count - 1)]
    return (
        b"II*\0" + struct.pack("<I", 8) + first_page + struct.pack("<I", at if others else 0)
        + bytes(4 * strips) + b"".join(others)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("taken", "refused", "says"),
    [
        (tiff(1_000), tiff(1_001), "more than 1,000 pages"),
        (tiff(tags=4_093), tiff(tags=4_094), "too many tags"),
        (tiff(strips=1_000_000), tiff(strips=1_000_001), "too many pieces"),
    ],
    ids=["pages", "tags", "strips"],
)
def test_the_pieces_of_a_tiff_are_counted(taken: bytes, refused: bytes, says: str) -> None:
    stored = rare_formats.size(taken, "TIFF")
    assert (stored.width, stored.height) == (5, 7)
    with pytest.raises(rare_formats.MalformedFile, match=says):
        rare_formats.size(refused, "TIFF")


def codestream(boxes: int) -> bytes:
    """A JPEG 2000 file whose codestream is the last of so many boxes."""
    size = struct.pack(">6I", 9, 8, 0, 0, 9, 8) + bytes(8) + struct.pack(">H", 3)
    start = b"\0\0\0\x0cjP  \r\n\x87\n"
    free = struct.pack(">I4s", 8, b"free") * (boxes - 2)
    return start + free + struct.pack(">I4s", 0, b"jp2c") + b"\xff\x4f\xff\x51" + bytes(4) + size


def test_a_file_of_boxes_has_4096_and_no_more() -> None:
    assert rare_formats.size(codestream(4_096), "JPEG2000").width == 9
    with pytest.raises(rare_formats.MalformedFile, match="too many boxes"):
        rare_formats.size(codestream(4_097), "JPEG2000")


# Pages and profiles


def test_of_40_pages_all_are_taken_and_of_41_those_that_are_named() -> None:
    assert pages.page_numbers("", 40, "a.pdf") == list(range(1, 41))
    with pytest.raises(ImageError, match="has 41 pages") as refused:
        pages.page_numbers("", 41, "a.pdf")
    assert refused.value.hint == "Say which: a.pdf#1-40"
    assert pages.page_numbers("41,2-3,3", 41, "a.pdf") == [41, 2, 3]


@pytest.mark.parametrize("named", ["0", "42", "41-42", "0-1"])
def test_a_page_that_is_not_there_is_named(named: str) -> None:
    with pytest.raises(ImageError, match=f"has no page {named}") as refused:
        pages.page_numbers(named, 41, "a.pdf")
    assert refused.value.hint == "It has pages 1 to 41"


@pytest.mark.parametrize(("length", "usable"), [(128, False), (129, True), (4_000_000, True), (4_000_001, False)])
def test_a_profile_of_four_megabytes_is_used_and_a_larger_one_left_out(length: int, usable: bool) -> None:
    header = struct.pack(">I", 129) + bytes(12) + b"RGB " + bytes(16) + b"acsp"
    assert colour.is_usable(header.ljust(length, b"\0"), "RGB") is usable
    assert not colour.is_usable(header.ljust(length, b"\0"), "CMYK")
    assert not colour.is_usable(struct.pack(">I", length + 1) + header[4:].ljust(length - 4, b"\0"), "RGB")


class Encoded:
    """A picture whose PNG and whose JPEG of each quality have so many bytes."""

    def __init__(self, png: int, jpeg: dict[int, int]) -> None:
        self.info: dict[str, str] = {"comment": "private"}
        self._png, self._jpeg = png, jpeg

    def convert(self, mode: str) -> "Encoded":
        return self

    def save(self, out: io.BytesIO, kind: str, **options: int) -> None:
        assert not self.info
        out.write(bytes(self._png if kind == "PNG" else self._jpeg[options["quality"]]))


@pytest.mark.parametrize(
    ("png", "jpeg", "lossy", "kind", "size"),
    [
        (19_000_000, {}, False, "PNG", 19_000_000),
        (19_000_001, {95: 9}, False, "JPEG", 9),
        (1, {95: 19_000_000}, True, "JPEG", 19_000_000),
        (1, {95: 19_000_001, 85: 8}, True, "JPEG", 8),
        (1, {95: 19_000_001, 85: 19_000_001, 70: 7}, True, "JPEG", 7),
    ],
)
def test_a_picture_is_sent_in_the_best_quality_of_at_most_19_mb(
    png: int, jpeg: dict[int, int], lossy: bool, kind: str, size: int
) -> None:
    data, written = converter.encode(Encoded(png, jpeg), lossy=lossy)
    assert (written, len(data)) == (kind, size)
