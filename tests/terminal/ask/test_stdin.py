"""Text on stdin beside a question: when it is read, how long it is waited for, what of it is refused."""

import os
import threading
from pathlib import Path
from typing import TextIO

import pytest

from pixtral_cli.errors import ContextError, UsageError
from pixtral_cli.terminal.ask.stdin import MAX_SIZE, WAITING_NOTE, read_text
from tests.terminal.emulator import Terminal


def from_file(data: bytes, folder: Path) -> tuple[str, list[str]]:
    notes: list[str] = []
    path = folder / "piped"
    path.write_bytes(data)
    with path.open() as stdin:
        return read_text(stdin, notes.append), notes


def test_a_file_is_read_without_its_last_newline(tmp_path: Path) -> None:
    assert from_file(b"one\ntwo\n", tmp_path) == ("one\ntwo", [])
    assert from_file(b"", tmp_path) == ("", [])
    assert from_file(b" \n\n", tmp_path) == ("", [])


def test_a_silent_pipe_is_waited_for_with_one_line(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        os.write(writer, b"late")
        os.close(writer)

    with os.fdopen(reader) as stdin:
        assert read_text(stdin, note, note_after=0.05) == "late"
    assert notes == [WAITING_NOTE]
    assert not any(isinstance(thread, threading.Timer) for thread in threading.enumerate())


def test_a_pipe_that_speaks_at_once_causes_no_note() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"here")
    os.close(writer)
    notes: list[str] = []
    with os.fdopen(reader) as stdin:
        assert read_text(stdin, notes.append) == "here"
    assert notes == []


def test_a_terminal_a_device_and_nothing_are_not_read() -> None:
    with Terminal() as terminal:
        assert read_text(terminal.out, print) == ""
    for device in ("/dev/null", "/dev/zero"):
        with open(device) as stdin:  # noqa: PTH123
            assert read_text(stdin, print) == ""
    assert read_text(None, print) == ""


def closed() -> TextIO:
    stdin = open(os.devnull)  # noqa: PTH123, SIM115
    stdin.close()
    return stdin


def test_a_closed_stdin_is_nothing() -> None:
    assert read_text(closed(), print) == ""


def test_stray_bytes_are_replaced_and_reported(tmp_path: Path) -> None:
    text, notes = from_file("naïve �".encode() + b" caf\xe9", tmp_path)
    assert text == "naïve � caf�"
    assert notes == ["stdin is not all UTF-8: 1 byte was replaced"]


def test_byte_order_marks_are_understood(tmp_path: Path) -> None:
    assert from_file("\ufeffhé\n".encode(), tmp_path)[0] == "hé"
    assert from_file("hé\r\n".encode("utf-16"), tmp_path)[0] == "hé"


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n\0\0", b"\xff\xd8\xff\xe0\0\x10JFIF", b"GIF89a\x80\x02\xe0\x01\xf7", b"a\0b"]
)
def test_bytes_that_are_no_text_are_refused_and_the_way_for_images_named(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        from_file(data, tmp_path)
    assert "--image -" in error.value.hint


def test_more_than_any_context_window_holds_is_refused(tmp_path: Path) -> None:
    assert len(from_file(b"x" * MAX_SIZE, tmp_path)[0]) == MAX_SIZE
    with pytest.raises(ContextError):
        from_file(b"x" * (MAX_SIZE + 1), tmp_path)
