"""Rows: every line that is not blank, in order, however long and whatever is in it."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtral_cli.batch import input
from pixtral_cli.batch.input import MAX_LINE, FileLines, StdinLines, match_files
from pixtral_cli.errors import UsageError


@given(st.lists(st.binary(max_size=40).map(lambda data: data.replace(b"\n", b""))), st.sampled_from([b"\n", b"\r\n"]))
def test_rows_are_the_lines_that_are_not_blank(lines: list[bytes], end: bytes) -> None:
    found = list(StdinLines(io.BytesIO(end.join(lines))).rows())
    texts = [line.removeprefix(input.BOM).strip() for line in lines]
    assert [row.data for row in found] == [text for text in texts if text]
    assert [row.number for row in found] == list(range(1, len(found) + 1))


@given(st.binary(min_size=1, max_size=30), st.binary(min_size=1, max_size=30))
def test_a_digest_distinguishes_rows(one: bytes, other: bytes) -> None:
    first, second = (list(StdinLines(io.BytesIO(data.replace(b"\n", b"."))).rows()) for data in (one, other))
    for left, right in zip(first, second, strict=False):
        assert (left.digest == right.digest) == (left.data == right.data)


def test_a_line_that_is_too_long_is_a_row_without_its_data_and_its_end_counts() -> None:
    long = b"x" * (MAX_LINE + 5)
    stream = b"a\n" + long + b"1\n" + long + b"2\nb"
    one, two, three, four = StdinLines(io.BytesIO(stream)).rows()
    assert (one.data, two.data, three.data, four.data) == (b"a", None, None, b"b")
    assert two.digest != three.digest


def test_a_file_that_ends_without_a_newline_and_begins_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(b"\xef\xbb\xbf{}\r\n\r\n []")
    source = FileLines(tmp_path / "rows")
    assert [row.data for row in source.rows()] == [b"{}", b"[]"]
    assert source.count() == 2
    assert source.folder == tmp_path


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_cannot_be_read_is_a_usage_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        FileLines(tmp_path / name).count()


def test_files_are_found_in_the_order_of_their_numbers_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deep" / "x.png").mkdir(parents=True)
    for name in ("p10.png", "p9.png", "P1.png", "q.txt", "deep/a.png"):
        (tmp_path / name).touch()
    assert match_files(["*.png", "p9.*", "q.txt"]).files == ("P1.png", "p9.png", "p10.png", "q.txt")
    assert match_files(["**/*.png"]).files == ("P1.png", "deep/a.png", "p9.png", "p10.png")
    with pytest.raises(UsageError, match="No file matches"):
        match_files(["deep"])
