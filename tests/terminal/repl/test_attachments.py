"""From names to images: globs, PDF pages, crops; and the texts about them."""

from pathlib import Path

import pytest
from PIL import Image as PIL

from pixtral_cli.chat.engine import Cost, ImageCost
from pixtral_cli.errors import ImageError, UsageError
from pixtral_cli.images import converter, folders
from pixtral_cli.images.transform import Box
from pixtral_cli.terminal.repl import attachments


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.png", "b.png", "c d.png"):
        PIL.new("RGB", (20, 10), "red").save(tmp_path / name)
    (tmp_path / "sub.png").mkdir()
    pages = [PIL.new("RGB", (100, 50 + number), "white") for number in range(41)]
    pages[0].save(tmp_path / "long.pdf", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "short report.pdf", save_all=True, append_images=pages[1:3])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("argument", "names"),
    [
        ("a.png b.png", ["a.png", "b.png"]),
        ("c d.png", ["c d.png"]),
        ("'c d.png' a.png", ["c d.png", "a.png"]),
        ("c\\ d.png", ["c d.png"]),
        ("[ab].png", ["a.png", "b.png"]),
        ("*.png", ["a.png", "b.png", "c d.png"]),
        ("https://example.org/200", ["https://example.org/200"]),
        ("nosuch", ["nosuch"]),
        ("", []),
    ],
)
def test_the_argument_of_image(argument: str, names: list[str]) -> None:
    assert list(attachments.image_names(argument)) == names


def test_a_pattern_without_files_is_an_error() -> None:
    with pytest.raises(ImageError, match="No file matches"):
        list(attachments.image_names("*.gif"))


@pytest.mark.parametrize(
    ("name", "pages"),
    [
        ("short report.pdf", ["#1", "#2", "#3"]),
        ("short report.pdf#2", ["#2"]),
        ("long.pdf#2-4,7,2", ["#2", "#3", "#4", "#7"]),
        ("{folder}/short report.pdf#3", ["#3"]),
        ("file://{folder}/short%20report.pdf#1-2", ["#1", "#2"]),
    ],
)
def test_pages_of_a_pdf_are_images(folder: Path, name: str, pages: list[str]) -> None:
    images = attachments.load_images(name.format(folder=folder))
    assert [image.name[image.name.index("#") :] for image in images] == pages
    assert all(max(image.size) == converter.PDF_PAGE_SIDE for image in images)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("long.pdf", "long.pdf has 41 pages"),
        ("long.pdf#42", "long.pdf has no page 42"),
        ("long.pdf#0", "has no page 0"),
        ("long.pdf#5-3", "5-3 runs backwards"),
        ("nosuch.pdf", "nosuch.pdf: no such file"),
    ],
)
def test_pages_that_are_not_there_are_errors(name: str, complaint: str) -> None:
    with pytest.raises(ImageError, match=complaint) as error:
        attachments.load_images(name)
    assert error.value.hint


def test_what_only_calls_itself_a_pdf_is_an_error(folder: Path) -> None:
    (folder / "fake.pdf").write_text("hello")
    with pytest.raises(ImageError, match="it is not a PDF or is damaged"):
        attachments.load_images("fake.pdf")


def test_what_is_there_is_known_without_opening_it(folder: Path) -> None:
    there = ["a.png", "c d.png", str(folder / "a.png"), "long.pdf#2-4", "sub.png"]
    assert all(folders.path_exists(name) for name in there)
    assert not any(folders.path_exists(name) for name in ("x.png", "x" * 5000, "a\0b", "~nobody-here/x", "x.pdf#1"))


@pytest.mark.parametrize(
    ("words", "box"),
    [
        ("10 20 30 40", Box(10, 20, 30, 40)),
        ("50% 25% 50% 10%", Box(100, 25, 100, 10)),
        ("12.5% 0 25 100%", Box(25, 0, 25, 100)),
    ],
)
def test_a_crop_is_in_pixels_or_percent(words: str, box: Box) -> None:
    assert attachments.parse_box(words.split(), (200, 100)) == box


@pytest.mark.parametrize("words", ["", "1 2 3", "1 2 3 4 5", "a b c d", "-1 0 5 5", "1e9 0 1 1"])
def test_anything_else_is_no_crop(words: str) -> None:
    with pytest.raises(UsageError):
        attachments.parse_box(words.split(), (200, 100))


def test_a_row_shows_size_size_sent_and_tokens() -> None:
    [image] = attachments.load_images("a.png")
    assert attachments.image_row(3, image, ImageCost(16, 8, 1234)) == ["#3 a.png", "20×10 → 16×8", "1,234 tokens"]
    assert attachments.image_row(3, image, None) == ["#3 a.png", "20×10"]
    assert attachments.context_left_text(Cost(10, 1000)) == "990 of 1,000 tokens left"
    assert "200 tokens too many" in attachments.context_left_text(Cost(1200, 1000))
