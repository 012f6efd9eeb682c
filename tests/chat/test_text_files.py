"""Text files that are sent with a question: a fence longer than any within, a limit of 4 MiB, a clear line for what is no text."""

from pathlib import Path

import pytest

from pixtral_cli.chat.text_files import fenced_file
from pixtral_cli.errors import ContextError, UsageError


def test_four_mib_are_read_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "long.txt"
    file.write_bytes(b"a" * 4 * 2**20)
    assert fenced_file(str(file)).count("a") == 4 * 2**20
    file.write_bytes(b"a" * (4 * 2**20 + 1))
    with pytest.raises(ContextError, match="more than 4 MiB of text") as refused:
        fenced_file(str(file))
    assert refused.value.status == 6


@pytest.mark.parametrize(
    ("text", "fence"), [("plain", "```"), ("``", "```"), ("```\ncode\n```", "````"), ("~~~ `````` ```", "```````")]
)
def test_the_fence_is_longer_than_any_within(tmp_path: Path, text: str, fence: str) -> None:
    file = tmp_path / "notes.md"
    file.write_text(text)
    assert fenced_file(str(file)) == f"{fence}notes.md\n{text}\n{fence}"


def test_a_byte_order_mark_and_empty_lines_around_the_text_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(b"\xef\xbb\xbf\r\n\n  indented\xff\n\r\n")
    assert fenced_file(str(file)) == "```notes.txt\n  indented\ufffd\n```"


@pytest.mark.parametrize("at", [0, 4095])
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, at: int) -> None:
    file = tmp_path / "program"
    file.write_bytes(b"a" * at + b"\0" + b"a" * 10)
    with pytest.raises(UsageError, match="not text"):
        fenced_file(str(file))


def test_a_picture_and_a_file_that_is_not_there_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a picture") as picture:
        fenced_file("photo.JPG")
    assert picture.value.hint == "Attach it: --image photo.JPG"
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        fenced_file(str(tmp_path / "gone.txt"))
