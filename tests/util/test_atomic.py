"""A file is replaced whole or not at all, in its place, and only if it is a file."""

import os
import stat
from pathlib import Path

import pytest

from pixtral_cli.util import atomic


def test_a_new_file_obeys_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        atomic.write(tmp_path / "new", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_permissions_stay_unless_others_are_given(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    file.chmod(0o754)
    atomic.write(file, b"new")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", 0o754)
    atomic.write(file, "newer", mode=0o600)
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("newer", 0o600)


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path: Path, there: bool) -> None:
    (tmp_path / "dotfiles").mkdir()
    target = tmp_path / "dotfiles" / "config.toml"
    if there:
        target.write_text("old")
    link = tmp_path / "config.toml"
    link.symlink_to(target)
    atomic.write(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert [file.name for file in tmp_path.rglob("*") if file.is_file() and not file.is_symlink()] == ["config.toml"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(error), atomic.replacing(file) as stream:
        stream.write(b"half of it")
        raise error
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("file", "old")]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(OSError, match="regular"):
            atomic.write(tmp_path / name, "x")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert (tmp_path / "folder").is_dir()


def test_a_loop_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError):
        atomic.write(tmp_path / "a", "x")


def test_what_a_kill_left_under_a_fixed_name_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "big.part").write_text("half of a larger file")
    with atomic.replacing(tmp_path / "big", scratch=tmp_path / "big.part") as stream:
        stream.write(b"whole")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("big", "whole")]


def test_text_that_utf8_cannot_hold_is_written_with_question_marks(tmp_path: Path) -> None:
    atomic.write(tmp_path / "file", "a\ud800b")
    assert (tmp_path / "file").read_bytes() == b"a?b"
