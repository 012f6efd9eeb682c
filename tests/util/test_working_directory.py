"""A current folder that was removed is left for the root, and only then."""

import os
from pathlib import Path

import pytest

from pixtral_cli.util.working_directory import leave_removed_folder


def test_a_removed_folder_is_left_and_one_that_is_there_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert not leave_removed_folder()
    assert Path.cwd() == folder
    folder.rmdir()
    assert leave_removed_folder()
    assert Path.cwd() == Path(os.sep)
