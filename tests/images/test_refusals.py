"""What a picture's file or its machine lacks is one line: contradicting sizes, no pages, no memory, no package, a folder that is none."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from pixtral_cli import images
from pixtral_cli.errors import ImageError, OutOfMemory
from pixtral_cli.images import converter, decode, folders, isolated, rare_formats
from pixtral_cli.images.headers import HEADER_PARSERS, MalformedHeader
from tests.server.serving import png
from tests.torture.pictures import chunk, corners, encoded


def test_a_picture_that_memory_has_no_room_for_is_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(decode, "stored_size", fail)
    with pytest.raises(OutOfMemory) as error:
        images.from_bytes(png(3, 5), "x.png")
    assert error.value.status == 7


def test_a_decoder_that_gives_another_size_is_not_believed() -> None:
    picture = Pillow.new("RGB", (4, 4))

    data = encoded(picture, "TIFF")
    load = Pillow.Image.load

    def lie(self: Any) -> Any:
        loaded = load(self)
        self._size = (5, 5)
        return loaded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("PIL.TiffImagePlugin.TiffImageFile.load", lie)
        with pytest.raises(ValueError, match="another size than the header"):
            converter.decode_picture(data, "TIFF", 1)


@pytest.mark.parametrize(
    ("low", "high", "grey"), [(0, 65_535, (0, 255)), (-1, 9, None), (0, 65_536, None), (0, 32_768, (0, 128))]
)
def test_grey_of_more_than_16_bits_is_refused(low: int, high: int, grey: tuple[int, int] | None) -> None:
    picture = Pillow.fromarray(np.array([[low, high]], dtype=np.int32))
    if grey:
        assert converter.eight_bits(picture).getextrema() == grey
    else:
        with pytest.raises(converter.UnsupportedImage, match="32 bits"):
            converter.eight_bits(picture)


def test_pages_are_counted_of_a_tiff_alone() -> None:
    assert isolated.count_pages(encoded(corners(8, 8), "TIFF"), "x.tif") == 1
    with pytest.raises(ImageError, match="this file has no pages") as error:
        isolated.count_pages(png(), "x.tif")
    assert error.value.hint == "Name it without #"


def test_a_folder_that_is_gone_or_holds_no_picture_is_named(tmp_path: Path) -> None:
    assert not folders.is_folder(str(tmp_path / "gone"))
    assert not folders.is_folder("x" * 5000)
    assert folders.is_folder(str(tmp_path))
    with pytest.raises(ImageError, match="a folder without pictures"):
        folders.pictures_in(str(tmp_path))
    with pytest.raises(ImageError, match="No such file or directory"):
        folders.pictures_in(str(tmp_path / "gone"))


def test_packed_text_that_is_damaged_hinders_no_picture() -> None:
    picture = png(3, 2)
    for text in (b"a\0\0not packed", b"a\0\0" + zlib.compress(b"b" * 99)[:-9] + b"damaged!!"):
        assert images.from_bytes(picture[:33] + chunk(b"zTXt", text) + picture[33:], "x").size == (3, 2)


@pytest.mark.parametrize(("stray", "taken"), [(49_000, True), (50_001, False)])
def test_a_jpeg_has_a_bounded_number_of_stray_bytes(stray: int, taken: bool) -> None:
    data = encoded(corners(8, 8), "JPEG")
    padded = data[:2] + bytes(stray) + data[2:]
    if taken:
        assert HEADER_PARSERS["JPEG"](padded).width == 8
    else:
        with pytest.raises(MalformedHeader, match="damaged"):
            HEADER_PARSERS["JPEG"](padded)


def bitmap_icon(width: int, height: int) -> bytes:
    """An icon whose picture is a bitmap with its mask below, as old ones are."""
    picture = struct.pack("<IiiHHI", 40, width, 2 * height, 1, 32, 0) + bytes(16)
    entry = bytes(8) + struct.pack("<II", len(picture), 22)
    return b"\0\0\1\0" + struct.pack("<H", 1) + entry + picture


def test_the_mask_below_an_icons_bitmap_is_no_part_of_it() -> None:
    stored = rare_formats.size(bitmap_icon(16, 32), "ICO")
    assert (stored.width, stored.height) == (16, 32)
    with pytest.raises(rare_formats.MalformedFile, match="cut short"):
        rare_formats.size(bitmap_icon(16, 32)[:-1], "ICO")


@pytest.mark.parametrize(("width", "taken"), [(65_500, True), (65_501, False)])
def test_a_tile_of_a_tiff_is_bounded(width: int, taken: bool) -> None:
    tags = [(256, 5), (257, 7), (322, width), (323, 1024)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    if taken:
        assert rare_formats.size(data, "TIFF").width == 5
    else:
        with pytest.raises(rare_formats.MalformedFile, match="tiles that are too large"):
            rare_formats.size(data, "TIFF")


@pytest.mark.parametrize(("channels", "bits", "taken"), [(8, 64, True), (9, 8, False), (1, 65, False)])
def test_a_tiff_has_channels_and_bits_of_a_picture(channels: int, bits: int, taken: bool) -> None:
    tags = [(256, 5), (257, 7), (258, bits), (277, channels)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    if taken:
        assert rare_formats.size(data, "TIFF").height == 7
    else:
        with pytest.raises(rare_formats.MalformedFile, match="more channels or bits"):
            rare_formats.size(data, "TIFF")
