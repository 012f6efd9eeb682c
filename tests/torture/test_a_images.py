"""TORTURE, part A: pictures that hurt are refused cheaply with one clear line; odd but legal ones come out right."""

import contextlib
import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from pixtral_cli import images
from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.errors import ImageError
from pixtral_cli.extras import install_command
from tests.torture import pictures

ROOT = Path(__file__).parents[2]


def refusal(source: str | Path) -> ImageError:
    """The error of a picture that must be refused: exit 3, one harmless line of at most 120 characters, no address."""
    with pytest.raises(ImageError) as caught:
        images.load(str(source))
    error = caught.value
    assert error.status == 3
    assert 0 < len(error.message) <= 120
    assert error.message.isprintable()
    assert " at 0x" not in error.message + error.hint
    return error


def refused_as(case: str, folder: Path) -> ImageError:
    return refusal(next(each for each in pictures.REFUSED if each.file == case).write(folder))


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    return np.asarray(images.from_bytes(data, "test").pixels()).astype(int)


def measured(*sources: Path) -> list[dict[str, Any]]:
    """Seconds, growth in MB and error of each picture, in a process of its own."""
    command = [sys.executable, "-m", "tests.torture.measure", *map(str, sources)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    return [json.loads(line) for line in result.stdout.splitlines()]


# 1, 2 and the figures


def test_a_png_of_400_megapixels_is_refused_with_its_dimensions(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(pictures.bomb(20_000))
    assert path.stat().st_size < 60_000
    assert "20000 × 20000" in refusal(path).message


def test_a_png_of_169_megapixels_is_refused_without_a_warning(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    assert "13000 × 13000" in refused_as("169-megapixels.png", tmp_path).message
    assert not recwarn.list


def test_every_hostile_picture_is_refused_within_a_fifth_of_a_second_and_50_megabytes(tmp_path: Path) -> None:
    cases = {str(case.write(tmp_path)): case for case in pictures.REFUSED}
    results = measured(*map(Path, cases))
    assert len(results) == len(cases)
    for result in results:
        assert cases[result["source"]].says in result["message"], result
        assert len(result["message"]) <= 120, result
        assert result["seconds"] <= 0.2, result
        assert result["growth"] <= 50, result


def test_odd_but_legal_pictures_load_without_a_word_on_stderr(tmp_path: Path) -> None:
    results = measured(*(case.write(tmp_path) for case in pictures.HARMLESS))
    assert [result["message"] for result in results] == [""] * len(pictures.HARMLESS)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_legal_jpeg_of_64_megapixels_costs_at_most_300_megabytes(tmp_path: Path, progressive: bool) -> None:
    path = tmp_path / "large.jpg"
    picture = pictures.photo(1000, 1000).resize((8000, 8000))
    picture.save(path, quality=60, progressive=progressive)
    (result,) = measured(path)
    assert result["message"] == ""
    assert result["growth"] <= 300, result


# 3 to 7: not what the name says, or damaged


@pytest.mark.parametrize("case", ["fits.png", "psd.png", "eps.png"])
def test_another_format_under_the_name_png_is_refused_by_its_format(case: str, tmp_path: Path) -> None:
    error = refused_as(case, tmp_path)
    assert {"fits.png": "FITS", "psd.png": "PSD", "eps.png": "EPS"}[case] in error.message
    assert "PNG" in error.hint


def test_an_empty_file_is_reported_to_be_empty(tmp_path: Path) -> None:
    assert "empty (0 bytes)" in refused_as("empty.png", tmp_path).message


def test_a_web_page_named_jpg_looks_like_html(tmp_path: Path) -> None:
    assert "looks like HTML" in refused_as("page.jpg", tmp_path).message


def test_text_named_jpg_looks_like_text(tmp_path: Path) -> None:
    assert "looks like text" in refused_as("words.jpg", tmp_path).message


@pytest.mark.parametrize("case", ["cut.jpg", "cut-progressive.jpg", "cut.png", "cut.gif", "cut.webp"])
def test_a_picture_cut_in_half_is_an_error_at_load(case: str, tmp_path: Path) -> None:
    assert "cut short" in refused_as(case, tmp_path).message


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT", b"IEND"])
def test_a_png_with_a_wrong_checksum_is_an_error_at_load(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(pictures.with_bad_checksum(pictures.encoded(pictures.corners(), "PNG"), kind))
    assert "wrong checksum" in refusal(path).message


def test_a_git_lfs_pointer_says_how_to_get_the_picture(tmp_path: Path) -> None:
    error = refused_as("pointer.png", tmp_path)
    assert "Git LFS pointer" in error.message
    assert "git lfs pull" in error.hint


# 8 to 12: right pixels


def turned(orientation: int, upright: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """How a camera stores a picture that EXIF says to turn."""
    ways: dict[int, Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]] = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    return np.ascontiguousarray(ways[orientation](upright))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_exif_orientations_give_identical_pixels(orientation: int, kind: str) -> None:
    upright = np.asarray(pictures.corners(64, 32))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    lossless: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    stored = Pillow.fromarray(turned(orientation, upright))
    image = images.from_bytes(pictures.encoded(stored, kind, exif=exif, **lossless.get(kind, {})), "turned")
    assert image.size == (64, 32)
    assert np.abs(np.asarray(image.pixels()).astype(int) - upright).max() <= (3 if kind == "JPEG" else 0)


def test_a_16_bit_grey_ramp_stays_a_ramp() -> None:
    values = list(range(0, 65536, 16))
    got = pixels(pictures.grey16(values))[0]
    assert np.array_equal(got[:, 0], got[:, 1])
    assert np.array_equal(got[:, 0], got[:, 2])
    assert np.abs(got[:, 0] - np.array(values) / 257).max() <= 0.5


def test_cmyk_jpegs_keep_their_colours() -> None:
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (255, 255, 0, 0)]
    expected = [(255, 255, 255), (0, 255, 255), (255, 0, 255), (255, 255, 0), (0, 0, 0), (0, 0, 255)]
    data = pictures.adobe_cmyk(inks)
    assert b"Adobe" in data
    row = pixels(data)[8, 8::16]
    assert np.abs(row - np.array(expected)).max() <= 6


def test_transparent_palette_entries_become_white() -> None:
    palette = Pillow.new("P", (3, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.putdata([0, 1, 2])
    one = pictures.encoded(palette, "PNG", transparency=1)
    several = pictures.encoded(palette, "PNG", transparency=bytes([255, 0, 128]))
    assert pixels(one).tolist() == [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]
    assert np.abs(pixels(several) - [[[255, 0, 0], [255, 255, 255], [127, 127, 255]]]).max() <= 1
    gif = pictures.encoded(palette, "GIF", transparency=1)
    assert pixels(gif).tolist() == [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]


def test_rgba_and_la_lie_on_white() -> None:
    rgba = Pillow.new("RGBA", (3, 1))
    rgba.putdata([(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 51)])
    assert np.abs(pixels(pictures.encoded(rgba, "PNG")) - [[[255, 0, 0], [255] * 3, [204] * 3]]).max() <= 1
    grey = Pillow.new("LA", (3, 1))
    grey.putdata([(40, 255), (40, 0), (0, 51)])
    assert np.abs(pixels(pictures.encoded(grey, "PNG")) - [[[40] * 3, [255] * 3, [204] * 3]]).max() <= 1


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_of_any_depth_becomes_white(depth: int) -> None:
    """Pixels 0, 1 and the brightest; value 1 is transparent."""
    bright = 2**depth - 1
    values = [0, 1, bright] if depth > 1 else [0, 1, 0]
    bits = "".join(f"{value:0{depth}b}" for value in values).ljust(48, "0")
    row = b"\0" + bytes(int(bits[at : at + 8], 2) for at in range(0, -(-3 * depth // 8) * 8, 8))
    data = pictures.png((3, 1), depth, 0, row, pictures.chunk(b"tRNS", b"\0\1"))
    assert pixels(data)[0, :, 0].tolist() == [0, 255, 255 if depth > 1 else 0]


def test_a_transparent_colour_of_16_bits_is_refused_rather_than_guessed() -> None:
    row = b"\0" + bytes([0, 1, 0, 2, 0, 3])
    data = pictures.png((1, 1), 16, 2, row, pictures.chunk(b"tRNS", bytes([0, 1, 0, 2, 0, 3])))
    with pytest.raises(ImageError):
        images.from_bytes(data, "rare.png")


def test_one_bit_is_black_and_white() -> None:
    picture = Pillow.new("1", (2, 1))
    picture.putpixel((1, 0), 1)
    assert pixels(pictures.encoded(picture, "PNG")).tolist() == [[[0, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("mode", ["F", "PA", "LA", "I;16"])
def test_tiffs_of_any_mode_are_refused_rather_than_wrong(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.tiff"
    source = Pillow.new("LA" if mode == "PA" else mode, (4, 4))
    (source.convert("PA") if mode == "PA" else source).save(path, "TIFF")
    assert "TIFF" in refusal(path).message


# 13 to 18: legal, if unusual


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_used_with_a_note(kind: str) -> None:
    image = images.from_bytes(pictures.animation(kind), "film")
    assert image.pixels().getpixel((5, 5)) == (255, 0, 0)
    assert image.notes == ("animated: only the first frame is used",)


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
def test_extreme_sizes_keep_their_exact_size(size: tuple[int, int]) -> None:
    data = pictures.encoded(Pillow.new("RGB", size, (1, 2, 3)), "PNG")
    image = images.from_bytes(data, "extreme.png")
    assert image.size == image.pixels().size == image.pixels((1024, 16)).size == size


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1)])
def test_extreme_sizes_cost_their_exact_tokens(size: tuple[int, int]) -> None:
    """By the published arithmetic: a token for each 16×16 patch and one at the end of each row."""
    folder = ROOT / "pixtral_cli" / "models" / "demo"
    largest = json.loads((folder / "params.json").read_text())["vision_encoder"]["image_size"]
    ratio = max(1.0, max(size) / largest)
    columns, rows = (math.ceil(max(1, round(side / ratio)) / 16) for side in size)
    image = images.from_bytes(pictures.encoded(Pillow.new("RGB", size), "PNG"), "extreme.png")
    cost = LocalEngine(folder).measure([user("What is this?", [image])])
    assert cost.image_tokens == (columns + 1) * rows


def test_an_svg_suggests_exporting_a_png(tmp_path: Path) -> None:
    error = refused_as("drawing.svg", tmp_path)
    assert "SVG" in error.message
    assert "Export it as PNG" in error.hint


def test_heic_without_its_package_names_the_install_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "phone.heic"
    path.write_bytes(pictures.heic())
    with pytest.raises(ImageError) as caught:
        images.load(str(path), typed=True)
    error = caught.value
    assert "HEIC" in error.message
    assert f"{install_command('heic')}" in error.hint


def test_a_jpeg_named_png_works(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(pictures.encoded(pictures.corners(), "JPEG"))
    image = images.load(str(path))
    assert (image.format, image.name, image.size) == ("JPEG", "photo.png", (24, 16))


# 19, 20: what is not a file, and names that bite


def test_a_pipe_a_device_and_a_directory_are_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "is a pipe" in refusal(tmp_path / "pipe.png").message
    assert "is a device" in refusal("/dev/zero").message
    assert "is a directory" in refusal(tmp_path).message


def test_names_with_escapes_newlines_and_invalid_utf8_are_shown_escaped(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    for name, seen in ((b"\x1b[2Jred\n.png", r"\x1b[2Jred\n.png"), (b"caf\xe9.png", r"caf\xe9.png")):
        path = folder + b"/" + name
        with contextlib.suppress(OSError), open(path, "wb") as file:  # noqa: PTH123  a name of bytes
            file.write(pictures.encoded(pictures.corners(), "PNG"))
        if not os.path.exists(path):  # noqa: PTH110  a file system that takes only UTF-8
            assert seen in refusal(os.fsdecode(path)).message
            continue
        assert images.load(os.fsdecode(path)).name == seen
        Path(os.fsdecode(path)).write_bytes(b"")
        assert seen in refusal(os.fsdecode(path)).message


def test_a_very_long_name_still_gives_a_short_line() -> None:
    error = refusal("/nowhere/" + "a" * 240 + ".png")
    assert error.message.endswith(".png: no such file or directory")


def test_a_thousand_damaged_pictures_are_a_picture_or_one_line() -> None:
    dice = random.Random(7)
    sound = [case.build() for case in pictures.HARMLESS]
    sound += [pictures.encoded(pictures.photo(60, 40), kind) for kind in ("PNG", "JPEG", "GIF", "WEBP")]
    outcomes = {"read": 0, "refused": 0}
    for _ in range(1000):
        data = bytearray(dice.choice(sound))
        for _ in range(dice.choice((1, 2, 10))):
            data[dice.randrange(min(len(data), 400))] = dice.choice((0, 1, 127, 128, 255))
        try:
            image = images.from_bytes(pictures.with_right_checksums(bytes(data)), "damaged")
        except ImageError as error:
            assert len(error.message) <= 120
            outcomes["refused"] += 1
        else:
            assert image.pixels().size == image.size
            outcomes["read"] += 1
    assert min(outcomes.values()) > 100
