"""Pictures and documents that other programs made: ImageMagick, Ghostscript, libheif's tools. All are read with the right colours."""

import subprocess
from pathlib import Path

import pytest
from PIL import Image as PIL

from pixtral_cli import images

pytestmark = pytest.mark.slow

CORNERS = {(10, 10): (220, 30, 30), (110, 10): (30, 200, 30), (10, 70): (30, 30, 220), (110, 70): (240, 240, 240)}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four fields of red, green, blue and near white, 120×80."""
    file = tmp_path_factory.mktemp("drawn") / "fields.png"
    picture = PIL.new("RGB", (120, 80))
    for (x, y), colour in CORNERS.items():
        picture.paste(colour, (x - x % 60, y - y % 40, x - x % 60 + 60, y - y % 40 + 40))
    picture.save(file)
    return file


def run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, (command, done.stderr)


def check(file: Path | str, *, near: int, grey: bool = False) -> None:
    """The four fields are there, each channel at most `near` away from what was drawn."""
    (image,) = images.load_all(str(file), typed=True)
    pixels = image.pixels().convert("RGB")
    across, down = pixels.width / 120, pixels.height / 80
    for (x, y), colour in CORNERS.items():
        found = pixels.getpixel((int(x * across), int(y * down)))
        wanted = (PIL.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0)),) * 3 if grey else colour
        assert isinstance(found, tuple)
        assert all(abs(a - b) <= near for a, b in zip(found, wanted, strict=True)), (file, (x, y), found, wanted)


@pytest.mark.parametrize(
    ("name", "flags", "near", "grey"),
    [
        ("lzw.tif", ["-compress", "LZW"], 0, False), ("zip.tif", ["-compress", "Zip"], 0, False),
        ("none.tif", ["-compress", "None", "-endian", "MSB"], 0, False), ("jpeg.tif", ["-compress", "JPEG", "-quality", "95"], 30, False),
        ("deep.tif", ["-depth", "16"], 1, False), ("cmyk.tif", ["-colorspace", "CMYK"], 12, False), ("pal.tif", ["-type", "Palette"], 0, False),
        ("grey.tif", ["-colorspace", "Gray"], 30, True), ("three.bmp", [], 0, False), ("old.bmp", ["-type", "Palette"], 0, False),
        ("a.ppm", [], 0, False), ("text.ppm", ["-compress", "None"], 0, False), ("deep.pgm", ["-colorspace", "Gray", "-depth", "16"], 30, True),
        ("a.ico", [], 0, False), ("a.gif", [], 0, False), ("a.jpg", ["-interlace", "JPEG", "-quality", "95"], 30, False),
        ("cmyk.jpg", ["-colorspace", "CMYK", "-quality", "95"], 40, False), ("a.webp", ["-define", "webp:lossless=true"], 0, False),
        ("deep.png", ["-depth", "16", "-interlace", "PNG"], 1, False),
    ],
)  # fmt: skip
def test_imagemagicks_files_are_read(
    source: Path, tmp_path: Path, name: str, flags: list[str], near: int, grey: bool
) -> None:
    run("convert", source, *flags, tmp_path / name)
    check(tmp_path / name, near=near, grey=grey)


def test_a_fax_and_the_pages_of_a_tiff(source: Path, tmp_path: Path) -> None:
    run("convert", source, "-threshold", "50%", "-compress", "Group4", tmp_path / "fax.tif")
    (fax,) = images.load_all(str(tmp_path / "fax.tif"), typed=True)
    assert {fax.pixels().convert("L").getpixel(place) for place in CORNERS} == {0, 255}
    run("convert", source, source.with_name("fields.png"), "-resize", "60x40", tmp_path / "pages.tif")
    (second,) = images.load_all(f"{tmp_path / 'pages.tif'}#2", typed=True)
    assert second.size == (60, 40)


def test_ghostscripts_pdf_and_tiff_pages_are_read(tmp_path: Path) -> None:
    drawn = "".join(f"{r} {g} {b} setrgbcolor 0 0 120 80 rectfill showpage\n" for r, g, b in ((1, 0, 0), (0, 0, 1)))
    (tmp_path / "two.ps").write_text(f"%!PS\n<< /PageSize [120 80] >> setpagedevice\n{drawn}")
    gs = ("gs", "-q", "-dNOPAUSE", "-dBATCH", "-dSAFER")
    run(*gs, "-sDEVICE=pdfwrite", f"-sOutputFile={tmp_path / 'two.pdf'}", tmp_path / "two.ps")
    run(*gs, "-sDEVICE=tiff24nc", "-r72", f"-sOutputFile={tmp_path / 'two.tif'}", tmp_path / "two.ps")
    first, second = images.load_all(str(tmp_path / "two.pdf"), typed=True)
    for image, colour in ((first, (255, 0, 0)), (second, (0, 0, 255))):
        pixels = image.pixels().convert("RGB")
        assert pixels.getpixel((pixels.width // 2, pixels.height // 2)) == colour
    (page,) = images.load_all(f"{tmp_path / 'two.tif'}#2", typed=True)
    assert page.pixels().convert("RGB").getpixel((60, 40)) == (0, 0, 255)


@pytest.mark.parametrize("name", ["a.heic", "a.avif"])
def test_libheifs_files_are_read(source: Path, tmp_path: Path, name: str) -> None:
    run("heif-enc", "-q", "90", *(["-A"] if name.endswith("avif") else []), source, "-o", tmp_path / name)
    check(tmp_path / name, near=30)
