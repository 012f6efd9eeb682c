"""An image from any source: its checked header, its pixels, its crops, and what is remembered of it."""

import io
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from pixtral_cli import images
from pixtral_cli.errors import ImageError
from pixtral_cli.images import decode, sources
from pixtral_cli.images.transform import Box
from tests.torture import pictures

PICTURE = pictures.encoded(pictures.corners(), "PNG")


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    decode.clear_cache()


def with_exif(kind: str, orientation: int, picture: Pillow.Image) -> bytes:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    return pictures.encoded(picture, kind, exif=exif)


# Sources


@pytest.mark.parametrize("form", ["{path}", "file://{url}", "file://localhost{url}", "FILE:{url}"])
def test_paths_and_file_urls_lead_to_the_same_file(form: str, tmp_path: Path) -> None:
    path = tmp_path / "my cat #1.png"
    path.write_bytes(PICTURE)
    source = form.format(path=path, url=str(path).replace(" ", "%20").replace("#", "%23"))
    image = images.load(source)
    assert (image.data, image.name, image.format, image.size) == (PICTURE, "my cat #1.png", "PNG", (24, 16))


def test_a_tilde_is_the_home_and_a_relative_path_the_current_directory(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "a.png").write_bytes(PICTURE)
    (tmp_path / "b.png").write_bytes(PICTURE)
    monkeypatch.chdir(tmp_path)
    assert images.load("~/a.png").name == "a.png"
    assert images.load("b.png").name == "b.png"


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(PICTURE)
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    assert images.load(str(tmp_path / "link.png")).data == PICTURE


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("", "empty name"),
        ("nowhere.png", "no such file"),
        ("~nobody-of-this-name/x.png", "no such file"),
        ("x\0y.png", "not a possible file name"),
        ("a" * 5000, "file name too long"),
        ("ftp://host/x.png", "ftp:// is not supported"),
        ("s3://bucket/x.png", "s3:// is not supported"),
        ("file://server/share/x.png", "another machine"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_says_why(source: str, says: str) -> None:
    with pytest.raises(ImageError) as caught:
        images.load(source)
    assert says in caught.value.message
    assert len(caught.value.message) <= 120


def test_a_missing_file_hints_at_the_directory_it_was_looked_for_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError) as caught:
        images.load("nowhere.png")
    assert str(tmp_path) in caught.value.hint


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("reds.png", "Did you mean red.png?"),
        ("pics/bleu.png", "Did you mean pics/blue.png?"),
        ("red.png#2", "red.png is there, and is one picture: pages are for PDF and TIFF"),
        ("multi.tif#2-", "multi.tif is there; its pages are written multi.tif#2, #2-4 or #1,3"),
        ("quite-another.png", "Check the name; the current directory is "),
    ],
)
def test_a_name_that_is_nearly_one_of_a_file_is_told_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("red.png", "pics/blue.png", "multi.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PICTURE)
    with pytest.raises(ImageError, match="no such file") as caught:
        images.load_all(source, typed=True)
    assert caught.value.hint.startswith(hint)


def test_pages_in_the_wrong_order_say_the_right_one(tmp_path: Path) -> None:
    Pillow.new("RGB", (8, 8)).save(tmp_path / "multi.tif", save_all=True, append_images=[Pillow.new("RGB", (8, 8))])
    with pytest.raises(ImageError, match="2-1 runs backwards") as caught:
        images.load_all(f"{tmp_path / 'multi.tif'}#2-1", typed=True)
    assert caught.value.hint == "Write 1-2, or 2,1"


def test_a_file_over_20_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "heavy.png"
    with path.open("wb") as file:
        file.truncate(10**12)
    tracemalloc.start()
    with pytest.raises(ImageError, match="larger than 20 MB"):
        images.load(str(path))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_bytes_on_stdin_are_an_image() -> None:
    image = images.from_stdin(io.BytesIO(PICTURE))
    assert (image.data, image.name) == (PICTURE, "stdin")


def test_nothing_on_stdin_is_an_error() -> None:
    with pytest.raises(ImageError, match="nothing came in"):
        images.from_stdin(io.BytesIO())


def test_an_endless_stdin_is_read_no_further_than_the_limit() -> None:
    with open("/dev/zero", "rb") as endless, pytest.raises(ImageError, match="larger than 20 MB"):  # noqa: PTH123
        images.from_stdin(endless)


@pytest.mark.parametrize(
    "text",
    [
        "http://h/a.png",
        "HTTPS://h",
        "file:///a.png",
        "file:/a.png",
        "data:image/png;base64,AA",
        "data:,x",
        "data:;base64,",
    ],
)
def test_urls_are_distinguished_from_paths(text: str) -> None:
    assert images.is_url(text)


@pytest.mark.parametrize(
    "text", ["a.png", "/a.png", "C:\\a.png", "http", "http://", "data: see below", "file", "https:x"]
)
def test_paths_and_prose_are_not_urls(text: str) -> None:
    assert not images.is_url(text)


def test_a_name_from_outside_is_harmless() -> None:
    assert images.from_bytes(PICTURE, "a\x1b[2J\n.png").name == r"a\x1b[2J\n.png"


# Pixels


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 700), st.integers(1, 700), st.sampled_from([1, 6]))
def test_reduced_pixels_are_never_fewer_than_asked_for(w: int, h: int, ask_w: int, ask_h: int, turn: int) -> None:
    image = images.from_bytes(with_exif("JPEG", turn, Pillow.new("RGB", (w, h), "teal")), "x")
    width, height = image.pixels((ask_w, ask_h)).size
    assert width >= min(ask_w, image.width)
    assert height >= min(ask_h, image.height)
    assert image.pixels().size == image.size == ((w, h) if turn == 1 else (h, w))


def test_a_large_jpeg_is_decoded_reduced_and_still_looks_the_same() -> None:
    whole = pictures.photo(4000, 3000)
    image = images.from_bytes(pictures.encoded(whole, "JPEG", quality=95), "x")
    reduced = image.pixels((1024, 768))
    assert reduced.size == (2000, 1500)
    exact = whole.resize(reduced.size, Pillow.Resampling.BOX)
    assert np.abs(np.asarray(reduced).astype(int) - np.asarray(exact)).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_crop_is_that_part_of_the_upright_picture(orientation: int, kind: str) -> None:
    image = images.from_bytes(with_exif(kind, orientation, pictures.photo(90, 61)), "x")
    box = Box(7, 11, 31, 23)
    expected = image.pixels().crop((7, 11, 38, 34))
    decode.clear_cache()
    assert image.cropped(box).pixels() == expected
    assert image.cropped(box).pixels(at_least=(4, 4)) == expected


def test_a_crop_of_a_crop_counts_from_the_first_one() -> None:
    image = images.from_bytes(pictures.encoded(pictures.photo(100, 80), "PNG"), "x")
    inner = image.cropped(Box(10, 20, 60, 50)).cropped(Box(5, 6, 7, 8))
    assert inner.transform.crop == Box(15, 26, 7, 8)
    assert inner.size == inner.pixels().size == (7, 8)
    assert inner.pixels() == image.pixels().crop((15, 26, 22, 34))


@pytest.mark.parametrize(
    "box", [Box(0, 0, 0, 5), Box(0, 0, 25, 5), Box(-1, 0, 5, 5), Box(20, 0, 5, 5), Box(0, 16, 1, 1)]
)
def test_a_crop_outside_the_picture_is_an_error_that_names_its_size(box: Box) -> None:
    with pytest.raises(ImageError) as caught:
        images.from_bytes(PICTURE, "x").cropped(box)
    assert "24×16" in caught.value.hint


def test_pixels_belong_to_the_caller() -> None:
    image = images.from_bytes(PICTURE, "x")
    image.pixels().paste((9, 9, 9), (0, 0, 24, 16))
    assert image.pixels().getpixel((0, 0)) == (255, 0, 0)


def test_equal_bytes_are_equal_images_with_equal_keys_and_crops_have_their_own() -> None:
    one, two = images.from_bytes(PICTURE, "x"), images.from_bytes(bytes(PICTURE), "x")
    assert one == two
    assert hash(one) == hash(two)
    assert one.key == two.key == one.sha256
    assert len({one.key, one.cropped(Box(0, 0, 2, 2)).key, one.cropped(Box(0, 1, 2, 2)).key}) == 3


def test_loading_an_image_decodes_what_is_sent_and_no_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    image = images.from_bytes(pictures.encoded(pictures.photo(4000, 3000), "JPEG"), "x")
    monkeypatch.setattr(decode, "_decode_upright", None)
    assert image.pixels((1024, 768)).size == (2000, 1500)


def test_what_is_remembered_is_bounded() -> None:
    for shade in range(12):
        images.from_bytes(
            pictures.encoded(Pillow.new("RGB", (2000, 1500), (shade, 0, 0)), "PNG", compress_level=1), "x"
        )
    assert 12_000_000 <= decode.cached_bytes() <= decode.CACHE_BYTES


def test_many_threads_get_the_same_pixels() -> None:
    image = images.from_bytes(pictures.encoded(pictures.photo(300, 200), "JPEG"), "x")
    expected = image.pixels().tobytes()
    got: list[bytes] = []

    def look() -> None:
        decode.clear_cache()
        got.append(image.pixels().tobytes())

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [expected] * 8


def test_pixels_carry_no_place_time_or_profile() -> None:
    exif = Pillow.Exif()
    exif[0x010E] = "at home"
    for kind in ("PNG", "JPEG", "WEBP"):
        data = pictures.encoded(pictures.corners(), kind, exif=exif, icc_profile=b"profile")
        assert b"at home" in data
        assert images.from_bytes(data, "x").pixels().info == {}


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"junk" * 9],
)
def test_malformed_exif_is_ignored(exif: bytes) -> None:
    image = images.from_bytes(pictures.encoded(pictures.corners(), "JPEG", exif=exif), "x")
    assert image.size == image.pixels().size == (24, 16)


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 8])
def test_heic_is_read_upright_and_whole_when_its_package_is_there(orientation: int) -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
    picture = pictures.photo(640, 320)
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    picture.info["exif"] = exif.tobytes()
    data = pictures.encoded(picture, "HEIF", quality=95, thumbnails=[128])
    image = images.from_bytes(data, "phone.heic", all_formats=True)
    as_jpeg = images.from_bytes(with_exif("JPEG", orientation, picture), "phone.jpg")
    assert (image.format, image.size) == ("JPEG", as_jpeg.size)
    assert np.abs(np.asarray(image.pixels()).astype(int) - np.asarray(as_jpeg.pixels())).mean() < 6


# Start-up


def test_the_module_loads_no_decoder_and_no_network_client() -> None:
    code = (
        "import sys, pixtral_cli.images; print([m for m in ('PIL', 'httpcore2', 'ssl', 'hashlib') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_data_url_over_the_limit_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object, **__: object) -> bytes:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("base64.b64decode", decoded)
    with pytest.raises(ImageError, match="larger than 20 MB"):
        images.load(f"data:image/png;base64,{'A' * 28_000_000}")


def test_a_document_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "large.pdf"
    with file.open("wb") as stream:
        stream.truncate(200_000_001)
    with pytest.raises(ImageError, match="larger than 200 MB"):
        sources.check_document(file, "large.pdf")
    with file.open("wb") as stream:
        stream.truncate(200_000_000)
    sources.check_document(file, "large.pdf")
