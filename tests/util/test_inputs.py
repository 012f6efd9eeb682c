"""An output that is an input, however it is spelt, is refused; any other is not."""

import os
from pathlib import Path

import pytest

from pixtral_cli.errors import UsageError
from pixtral_cli.util.inputs import refuse_overwriting_inputs


@pytest.fixture
def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "keep.pdf"
    file.write_bytes(b"mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "hard").hardlink_to(file)
    (tmp_path / "soft").symlink_to(file)
    (tmp_path / "chain").symlink_to("soft")
    return file


SPELLINGS = ["keep.pdf", "./keep.pdf", "folder/../keep.pdf", "hard", "soft", "chain", "~/keep.pdf", "keep.pdf#1-2"]


@pytest.mark.parametrize("given", SPELLINGS)
@pytest.mark.parametrize("output", ["keep.pdf", "hard", "chain", "folder/../soft"])
def test_every_spelling_of_an_input_is_refused(keep: Path, given: str, output: str) -> None:
    with pytest.raises(UsageError, match="would be written over"):
        refuse_overwriting_inputs(Path(output), ["https://example.org/keep.pdf", given])


def test_a_file_url_and_an_open_file_are_inputs_too(keep: Path) -> None:
    with pytest.raises(UsageError):
        refuse_overwriting_inputs(keep, [keep.as_uri()])
    with keep.open() as stream, pytest.raises(UsageError, match="stdin"):
        refuse_overwriting_inputs(keep, [stream.fileno()])


def test_an_input_that_is_to_come_is_one_already(keep: Path) -> None:
    with pytest.raises(UsageError):
        refuse_overwriting_inputs(Path("folder/../new.png"), ["new.png"])


@pytest.mark.parametrize(
    "given",
    ["", "-", "name, price:float", '{"type": "object"}', "~nobody/keep.pdf", "data:,x", "a\0b", "http://h/keep.pdf"],
)
def test_what_is_no_file_is_no_hindrance(keep: Path, given: str) -> None:
    refuse_overwriting_inputs(Path("other.pdf"), [given])
    refuse_overwriting_inputs(keep, [given])


def test_a_device_may_be_both_ends(tmp_path: Path) -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    try:
        refuse_overwriting_inputs(Path(os.devnull), [descriptor])
    finally:
        os.close(descriptor)
