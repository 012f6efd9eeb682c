"""Writing an answer to a file: whole or not at all, nothing else touched."""

import os
import stat
from pathlib import Path

import pytest

from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.terminal.ask import output_file


def test_a_file_is_replaced_whole_and_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old and longer")
    path.chmod(0o640)
    output_file.write(path, "new é\n")
    assert path.read_text(encoding="utf-8") == "new é\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        output_file.write(tmp_path / "new", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    output_file.write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_device_is_written_to_and_not_replaced() -> None:
    output_file.check_writable(Path(os.devnull))
    output_file.write(Path(os.devnull), "x")
    assert not Path(os.devnull).is_file()


def test_half_a_character_is_a_question_mark_in_a_file_and_in_a_pipe(tmp_path: Path) -> None:
    output_file.write(tmp_path / "file", "a\ud83dz")
    assert (tmp_path / "file").read_bytes() == b"a?z"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        output_file.write(pipe, "a\ud83dz")
        assert os.read(reader, 100) == b"a?z"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_what_cannot_be_written_is_reported_before_the_work(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "file"):
        with pytest.raises(UsageError):
            output_file.check_writable(path)
    output_file.check_writable(tmp_path / "file")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    with pytest.raises(PixtralError, match="No space left"):
        output_file.write(Path("/dev/full"), "x")
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(PixtralError):
        output_file.write(path / "below", "x")
    assert path.read_text() == "old"
