"""Code blocks become files: under their names, never over existing ones, with warnings about hidden text."""

import os
import resource
from pathlib import Path

import pytest

from pixtral_cli.chat.code_files import default_name, write_block
from pixtral_cli.errors import PixtralError


def test_a_block_is_written_as_it_is(tmp_path: Path) -> None:
    text = "<h1>Grüße \U0001f600</h1>\r\n\tx"
    written = write_block(text, tmp_path, "site/css/page.html")
    assert written.path == tmp_path / "site" / "css" / "page.html"
    assert written.path.read_bytes() == text.encode()
    assert written.warnings == ()


@pytest.mark.parametrize(
    ("language", "name"),
    [("html", "page.html"), ("HTML", "page.html"), ("python", "code.py"), ("", "code.txt"), ("../x", "code.txt")],
)
def test_a_block_without_a_name_gets_one_for_its_language(tmp_path: Path, language: str, name: str) -> None:
    assert default_name(language) == name
    assert write_block("x", tmp_path, language=language).path == tmp_path / name


def test_a_new_version_is_beside_the_old_one(tmp_path: Path) -> None:
    names = [write_block("x", tmp_path, name).path.name for name in ("page.html", "page.html", "Makefile", "Makefile")]
    assert names == ["page.html", "page-2.html", "Makefile", "Makefile-2"]


@pytest.mark.parametrize("name", ["./page.html", "a b.html", "grün.html", "v1.2/x.py", "console.log", "com10.txt"])
def test_an_honest_name_is_taken(tmp_path: Path, name: str) -> None:
    assert write_block("x", tmp_path, name).path == tmp_path / name


def test_what_deceives_a_reader_is_reported(tmp_path: Path) -> None:
    text = "if access != 'user\u202e \u2066// Check if admin\u2069 \u2066':\n\U000e0041"
    written = write_block(text, tmp_path, "code.py")
    assert written.path.read_text() == text
    assert "4 bidirectional controls, first in line 1" in written.warnings[0]
    assert "1 invisible tag character, first in line 2" in written.warnings[1]


def test_a_link_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "page.html").symlink_to(tmp_path / "dangling")
    assert write_block("x", tmp_path, "page.html").path.name == "page-2.html"
    assert not (tmp_path / "dangling").exists()


def test_what_cannot_be_written_whole_is_not_there_at_all(tmp_path: Path) -> None:
    pid = os.fork()
    if not pid:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_block("x" * 5000, tmp_path, "page.html")
        except PixtralError:
            os._exit(7)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(PixtralError, match=r"Cannot write page.html: No such file or directory"):
        write_block("x", tmp_path / "nowhere", "page.html")


def test_the_last_version_that_a_name_can_have_is_9999(tmp_path: Path) -> None:
    for version in ("x.py", *(f"x-{number}.py" for number in range(2, 9_999))):
        (tmp_path / version).touch()
    assert write_block("last", tmp_path, "x.py").path.name == "x-9999.py"
    with pytest.raises(PixtralError, match=r"Every version of x\.py is taken"):
        write_block("one more", tmp_path, "x.py")


@pytest.mark.parametrize(
    ("name", "taken"), [("n" * 200, True), ("n" * 201, False), ("ü" * 100, True), ("ü" * 101, False)]
)
def test_a_name_has_at_most_200_bytes(tmp_path: Path, name: str, taken: bool) -> None:
    if taken:
        assert write_block("x", tmp_path, name).path.exists()
    else:
        with pytest.raises(PixtralError, match="it is too long"):
            write_block("x", tmp_path, name)
