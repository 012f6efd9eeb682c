"""Formats beyond the common four: right pixels, upright and in sRGB, sizes checked before a decoder runs, no decoder trusted."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image as Pillow
from PIL import ImageCms
from PIL.TiffImagePlugin import AppendingTiffWriter, ImageFileDirectory_v2

from pixtral_cli import images
from pixtral_cli.errors import ImageError
from pixtral_cli.images import rare_formats
from pixtral_cli.images.transform import Box
from tests.torture import pictures
from tests.work import at_most

pillow_heif.register_heif_opener()
CORNERS = pictures.corners(64, 64)


def read(data: bytes, name: str = "x") -> images.Image:
    return images.from_bytes(data, name, all_formats=True)


def array(image: images.Image) -> np.ndarray[Any, Any]:
    return np.asarray(image.pixels()).astype(int)


def refusal(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        read(data)
    assert len(caught.value.message) <= 120
    return caught.value.message


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {"compression": "tiff_deflate"}), ("TIFF", {"big_tiff": True}),
        ("TIFF", {"compression": "jpeg", "quality": 95}), ("TIFF", {"compression": "packbits"}), ("BMP", {}), ("ICO", {}), ("PPM", {}),
        ("JPEG2000", {}), ("AVIF", {"quality": 100, "subsampling": "4:4:4"}), ("HEIF", {"quality": 100, "chroma": 444}),
    ],
)  # fmt: skip
def test_pixels_are_those_of_the_picture(kind: str, options: dict[str, Any]) -> None:
    image = read(pictures.encoded(CORNERS, kind, **options))
    assert image.size == (64, 64)
    assert image.format == ("JPEG" if kind in ("AVIF", "HEIF") else "PNG")
    assert np.abs(array(image) - np.asarray(CORNERS)).max() <= 12


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_of_a_tiff_comes_out_right(mode: str) -> None:
    stored = CORNERS.convert(mode)
    options = {"compression": "group4"} if mode == "1" else {}
    expected = np.asarray(stored.convert("RGB")).astype(int)
    assert np.abs(array(read(pictures.encoded(stored, "TIFF", **options))) - expected).max() <= 3


def test_a_transparent_tiff_is_put_on_white() -> None:
    assert array(read(pictures.encoded(Pillow.new("RGBA", (8, 8), (0, 0, 0, 0)), "TIFF"))).min() == 255


def test_grey_of_16_bits_keeps_its_ramp_and_fractions_are_refused() -> None:
    values = (np.arange(256, dtype="uint32") * 257).astype("uint16").reshape(16, 16)
    got = array(read(pictures.encoded(Pillow.fromarray(values), "TIFF")))
    assert np.array_equal(got[:, :, 0].ravel(), np.arange(256))
    assert "fractions" in refusal(pictures.float_tiff())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
def test_pictures_stand_upright(kind: str, orientation: int) -> None:
    def stored(kind: str, **options: Any) -> bytes:
        exif = Pillow.Exif()
        exif[0x0112] = orientation
        return pictures.encoded(pictures.corners(64, 32), kind, exif=exif, **options)

    options = {"quality": 100, "subsampling": "4:4:4"} if kind == "AVIF" else {}
    upright = images.from_bytes(stored("PNG"), "x")
    assert np.abs(array(read(stored(kind, **options))) - array(upright)).max() <= 12


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A TIFF of three pages: red, green, blue."""
    pages = [Pillow.new("RGB", (20 + n, 10), colour) for n, colour in enumerate(("red", (0, 255, 0), "blue"))]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    return tmp_path / "scan.tif"


def test_a_page_of_a_tiff_is_named_by_its_number(scan: Path) -> None:
    [second] = images.load_all(f"{scan}#2", typed=True)
    assert (second.name, second.size, second.pixels().getpixel((0, 0))) == ("scan.tif#2", (21, 10), (0, 255, 0))
    assert [image.width for image in images.load_all(f"{scan}#3,1-2", typed=True)] == [22, 20, 21]


def test_without_a_number_all_pages_are_taken_and_counted_as_of_a_pdf(scan: Path) -> None:
    found = images.load_all(str(scan), typed=True)
    assert [(image.name, image.width) for image in found] == [
        ("scan.tif#1", 20),
        ("scan.tif#2", 21),
        ("scan.tif#3", 22),
    ]
    assert [image.notes for image in found] == [("all 3 pages are used",), (), ()]
    [only] = images.load_all(f"{scan}#1", typed=True)
    assert (only.name, only.notes) == ("scan.tif#1", ())


def test_a_tiff_of_many_pages_asks_which(tmp_path: Path) -> None:
    pages = [Pillow.new("L", (4, 4), n) for n in range(41)]
    pages[0].save(tmp_path / "long.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageError, match=r"long\.tif has 41 pages") as caught:
        images.load_all(str(tmp_path / "long.tif"), typed=True)
    assert caught.value.hint == "Say which: long.tif#1-40"


def test_smaller_copies_in_a_tiff_are_no_pages_of_it(tmp_path: Path) -> None:
    small = ImageFileDirectory_v2()
    small[254] = 1  # NewSubfileType: a reduced copy, as cameras, scanners and slide viewers add
    for name, sizes in (("photo.tif", [60]), ("two.tif", [60, 50])):
        with AppendingTiffWriter(str(tmp_path / name), new=True) as file:
            for size in sizes:
                Pillow.new("RGB", (size, 10), "red").save(file, "TIFF")
                file.newFrame()
                Pillow.new("RGB", (size // 10, 1), "blue").save(file, "TIFF", tiffinfo=small)
                file.newFrame()
    [photo] = images.load_all(str(tmp_path / "photo.tif"), typed=True)
    assert (photo.name, photo.size, photo.notes) == ("photo.tif", (60, 10), ())
    assert [(each.name, each.width) for each in images.load_all(str(tmp_path / "two.tif"), typed=True)] == [
        ("two.tif#1", 60), ("two.tif#3", 50),
    ]  # fmt: skip


def test_a_tiff_without_its_name_gives_its_first_page_and_says_so(scan: Path) -> None:
    first = images.from_stdin(io.BytesIO(scan.read_bytes()))
    assert first.pixels().getpixel((0, 0)) == (255, 0, 0)
    assert first.notes == ("page 1 of 3; by its path, all are read, or one as #2",)


def test_a_page_that_is_not_there_is_an_error(scan: Path) -> None:
    with pytest.raises(ImageError, match=r"scan\.tif has no page 4") as caught:
        images.load_all(f"{scan}#4", typed=True)
    assert caught.value.hint == "It has pages 1 to 3"


def test_pages_of_a_pdf_are_pictures(tmp_path: Path) -> None:
    pages = [Pillow.new("RGB", (100, 50), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "a.pdf", save_all=True, append_images=pages[1:])
    first, second = images.load_all(str(tmp_path / "a.pdf"), typed=True)
    assert (first.name, second.name, first.notes) == ("a.pdf#1", "a.pdf#2", ("all 2 pages are used",))
    assert np.abs(np.array(second.pixels().getpixel((50, 50))) - (0, 0, 255)).max() < 8


# Only what the user names


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "ICO", "JPEG2000", "AVIF", "HEIF"])
def test_for_others_than_the_user_the_common_formats_alone_are_read(kind: str) -> None:
    data = pictures.encoded(CORNERS, kind)
    with pytest.raises(ImageError, match="PNG, JPEG, WebP and GIF are read"):
        images.from_bytes(data, "x")


def test_what_is_named_at_the_prompt_may_be_of_any_format(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").write_bytes(pictures.encoded(CORNERS, "BMP"))
    assert images.load(str(tmp_path / "a.bmp"), typed=True).size == (64, 64)
    with pytest.raises(ImageError, match="a BMP file"):
        images.load(str(tmp_path / "a.bmp"))


# Hostile files


def tiff(tags: dict[int, tuple[int, int]], *, following: int = 0) -> bytes:
    """A TIFF of one directory of LONG tags: number and value of each."""
    entries = b"".join(struct.pack("<HHII", tag, 4, count, value) for tag, (count, value) in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following)


SIZE = {256: (1, 100), 257: (1, 100)}


def many_pages() -> bytes:
    """A chain of a million directories."""
    page = struct.Struct("<HI")
    return b"II*\0" + struct.pack("<I", 8) + b"".join(page.pack(0, 8 + page.size * (n + 1)) for n in range(1_000_000))


def huge_avif() -> bytes:
    data = pictures.encoded(CORNERS, "AVIF")
    at = data.index(b"ispe") + 8
    return data[:at] + struct.pack(">II", 65_500, 65_500) + data[at + 8 :]


def huge_jpeg2000() -> bytes:
    data = pictures.encoded(CORNERS, "JPEG2000")
    at = data.index(b"\xff\x4f\xff\x51") + 8
    return data[:at] + struct.pack(">II", 60_000, 60_000) + data[at + 8 :]


def big_tiff_with_far_number() -> bytes:
    """Its width stands at an offset of 2^64 - 1."""
    entry = struct.pack("<HHQQ", 256, 16, 2, 2**64 - 1)
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1) + entry + bytes(8)


HOSTILE = {
    "a million pages": (many_pages, "more than 1,000 pages"),
    "pages in a circle": (lambda: tiff(SIZE, following=8), "lead back to themselves"),
    "4 GB of strip": (lambda: tiff({**SIZE, 273: (1, 8), 279: (1, 0xFFFFFFF0)}), "cut short"),
    "a billion strips": (lambda: tiff({**SIZE, 273: (1_000_000_000, 8)}), "too many pieces"),
    "a wide TIFF": (lambda: tiff({256: (1, 60_000), 257: (1, 60_000)}), "60000 × 60000"),
    "a TIFF without pages": (lambda: b"II*\0" + bytes(60), "has no page 1"),
    "a TIFF cut short": (lambda: pictures.encoded(CORNERS, "TIFF")[:60], "cut short"),
    "a BigTIFF whose first page is beyond any file": (lambda: b"II+\0\x08\0\0\0" + b"\xff" * 60, "cut short"),
    "a BigTIFF whose number is beyond any file": (big_tiff_with_far_number, "cut short"),
    "a wide AVIF": (huge_avif, "65500 × 65500"),
    "a JPEG 2000 that lies": (huge_jpeg2000, "contradicts itself"),
    "a JPEG 2000 cut short": (lambda: pictures.encoded(CORNERS, "JPEG2000")[:120], "cut short"),
    "a BMP of 2 GB": (lambda: b"BM" + bytes(8) + struct.pack("<IIiiHHI", 54, 40, 30_000, 30_000, 1, 24, 0) + bytes(60), "cut short"),
    "a PNM without pixels": (lambda: b"P6 5000 5000 255\n", "cut short"),
    "an icon around a bomb": (
        lambda: struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(bomb := pictures.bomb(20_000)), 22) + bomb,
        "20000 × 20000",
    ),
    "an AVIF of noise": (lambda: struct.pack(">I", 24) + b"ftypavif" + bytes(200), "AVIF"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_refused_before_any_decoder_runs(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("a decoder ran"))
    build, says = HOSTILE[case]
    data = build()
    with at_most(calls=50_000):
        message = refusal(data)
    assert says in message


def test_sizes_in_a_box_of_noise_are_bounded_work() -> None:
    noise = b"II*\0\x08\0\0\0" + zlib.compress(bytes(range(256)) * 400, 0)
    for kind in ("TIFF", "BMP", "ICO", "PPM", "JPEG2000", "AVIF", "HEIF"):
        with pytest.raises(rare_formats.MalformedFile):
            rare_formats.size(noise * 20, kind)


@pytest.mark.parametrize("kind", ["TIFF", "JPEG2000", "AVIF", "HEIF", "BMP"])
def test_flipped_bits_give_a_picture_or_one_line(kind: str) -> None:
    good = pictures.encoded(CORNERS, kind)
    for place in range(0, len(good), max(1, len(good) // 6)):
        data = bytearray(good)
        data[place] ^= 0x41
        try:
            assert read(bytes(data)).size[0] > 0
        except ImageError as error:
            assert error.message.isprintable()


def test_a_decoder_that_dies_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pillow_heif.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert refusal(pictures.encoded(CORNERS, "HEIF")) == "x: this HEIC is damaged"


def test_a_decoder_that_asks_for_too_much_memory_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pillow_heif.py").write_text("grown = bytearray(8 << 30)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "too much memory" in refusal(pictures.encoded(CORNERS, "HEIF"))


# Metadata, ends, colours


def texts(count: int, size: int) -> bytes:
    good = pictures.encoded(pictures.corners(), "PNG")
    text = pictures.chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"masterpiece, " * (size // 13), 9))
    return good[:33] + text * count + good[33:]


@pytest.mark.parametrize(("count", "size"), [(1, 3_000_000), (80, 900_000)])
def test_a_png_with_megabytes_of_text_is_read(count: int, size: int) -> None:
    image = images.from_bytes(texts(count, size), "x")
    assert np.array_equal(array(image), np.asarray(pictures.corners()))


def test_a_png_with_a_gigabyte_of_text_is_refused_with_little_unpacked() -> None:
    data = texts(20, 50_000_000)
    with at_most(calls=2_000, memory=10_000_000), pytest.raises(ImageError, match="over 80 MB"):
        images.from_bytes(data, "x")


def photo_jpeg(**options: Any) -> bytes:
    return pictures.encoded(pictures.photo(300, 200), "JPEG", quality=90, **options)


def test_a_jpeg_without_an_end_marker_is_read_with_a_note() -> None:
    whole = photo_jpeg()
    image = images.from_bytes(whole[:-2], "x")
    assert np.array_equal(array(image), array(images.from_bytes(whole, "x")))
    assert image.notes == ("its end is missing; all of its pixels are there",)
    assert images.from_bytes(whole[:-1], "x").notes == image.notes


@pytest.mark.parametrize("missing", [40, 400, 4000])
def test_a_jpeg_that_lacks_pixels_is_cut_short(missing: int) -> None:
    for data in (photo_jpeg(), photo_jpeg(subsampling=0), photo_jpeg(restart_marker_blocks=4)):
        with pytest.raises(ImageError, match="cut short"):
            images.from_bytes(data[:-missing], "x")


def wide_gamut() -> bytes:
    """The profile of Display P3's primaries with sRGB's curve, written by hand (ICC.1:2022)."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 3) + b"P3\0" + bytes(78), b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1, 0.8249),
        b"rXYZ": b"XYZ " + bytes(4) + fixed(0.5151, 0.2412, -0.0011), b"gXYZ": b"XYZ " + bytes(4) + fixed(0.2920, 0.6922, 0.0419),
        b"bXYZ": b"XYZ " + bytes(4) + fixed(0.1571, 0.0666, 0.7841), b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
        b"cprt": b"text" + bytes(4) + b"none\0",
    }  # fmt: skip
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    head = (
        bytes(4)
        + bytes(4)
        + b"\x04\0\0\0mntrRGB XYZ "
        + bytes(12)
        + b"acsp"
        + bytes(28)
        + fixed(0.9642, 1, 0.8249)
        + bytes(48)
    )
    whole = head + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_wide_gamut_colours_become_srgb(kind: str) -> None:
    options = {"PNG": {}, "JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}, "TIFF": {}}[kind]
    stored = pictures.encoded(Pillow.new("RGB", (16, 16), (234, 51, 35)), kind, icc_profile=wide_gamut(), **options)
    red = read(stored).pixels().getpixel((8, 8))
    assert isinstance(red, tuple)
    assert red[0] >= 254 and red[1] <= 12 and red[2] <= 12  # sRGB's red is (234, 51, 35) in Display P3


def test_an_srgb_profile_changes_no_pixel() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(
        array(images.from_bytes(pictures.encoded(CORNERS, "PNG", icc_profile=profile), "x")), np.asarray(CORNERS)
    )


@pytest.mark.parametrize(
    "profile", [b"x", bytes(200), wide_gamut()[:300], wide_gamut().replace(b"RGB XYZ ", b"CMYKLab ")]
)
def test_a_broken_profile_is_left_out(profile: bytes) -> None:
    image = images.from_bytes(pictures.encoded(CORNERS, "PNG", icc_profile=profile), "x")
    assert np.array_equal(array(image), np.asarray(CORNERS))


def test_a_crop_has_the_colours_of_the_whole() -> None:
    data = pictures.encoded(pictures.photo(90, 60), "PNG", icc_profile=wide_gamut())
    image = images.from_bytes(data, "x")
    part = image.cropped(Box(10, 10, 30, 20))
    assert part.pixels().tobytes() == image.pixels().crop((10, 10, 40, 30)).tobytes()


def test_stdin_takes_any_format() -> None:
    assert images.from_stdin(io.BytesIO(pictures.encoded(CORNERS, "BMP"))).size == (64, 64)
