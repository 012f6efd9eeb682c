"""The output on disk: what is written is whole, what a kill left is cut off, what is not ours is not touched."""

import errno
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pixtral_cli.batch import results
from pixtral_cli.batch.input import ImageFiles, InputRow
from pixtral_cli.batch.journal import DeviceOutput, Journal
from pixtral_cli.batch.results import ResultShape, RowAnswer, encode
from pixtral_cli.chat.engine import Usage
from pixtral_cli.chat.whole_answer import WholeAnswer
from pixtral_cli.errors import PixtralError, UsageError

SETTINGS = "f" * 64
ROWS = list(ImageFiles(("a", "b", "c")).rows())
OPENAI, PLAIN = ResultShape("openai", {"custom_id": "x"}), ResultShape("plain", {"file": "é"})


def line(row: InputRow, label: ResultShape = PLAIN, settings: str = SETTINGS) -> bytes:
    named = results.row_key(row, settings)
    result = results.success(row, named, label, RowAnswer([WholeAnswer("said", "stop")], "fake", Usage()))
    return f"{encode(result.line)}\n".encode()


def failing(row: InputRow, label: ResultShape = PLAIN) -> bytes:
    result = results.failure(row, results.row_key(row, SETTINGS), label, PixtralError("no"), asked=True)
    return f"{encode(result.line)}\n".encode()


def resumed(file: Path, rows: Iterator[InputRow] | None = None, settings: str = SETTINGS) -> tuple[int, list[int]]:
    """How many lines there are, and which of them are failures."""
    with closing(Journal(file)) as journal:
        before = journal.resume(iter(ROWS) if rows is None else rows, settings, "in.jsonl")
    return before.lines, list(before.failed)


def test_what_was_written_is_found_again_and_its_rows_are_taken(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "out")) as journal:
        journal.write(line(ROWS[0]))
        journal.write(failing(ROWS[1], OPENAI))
    rows = iter(ROWS)
    assert resumed(tmp_path / "out", rows) == (2, [2])
    assert next(rows) == ROWS[2]


@pytest.mark.parametrize("label", [PLAIN, OPENAI], ids=["plain", "openai"])
def test_a_line_torn_anywhere_is_cut_off_and_no_other(tmp_path: Path, label: ResultShape) -> None:
    file, whole, torn = tmp_path / "out", line(ROWS[0], label), line(ROWS[1], label)
    for length in range(len(torn)):
        file.write_bytes(whole + torn[:length])
        assert resumed(file) == (1, [])
        assert file.read_bytes() == whole
        file.write_bytes(torn[:length])
        assert resumed(file) == (0, [])
        assert file.read_bytes() == b""


def test_damage_in_the_middle_is_reported_and_not_touched(tmp_path: Path) -> None:
    file = tmp_path / "out"
    damaged = line(ROWS[0]) + b"\0" * 40 + b"\n" + line(ROWS[2])
    file.write_bytes(damaged)
    with pytest.raises(UsageError, match=f"is damaged {len(line(ROWS[0]))} bytes in"):
        resumed(file)
    assert file.read_bytes() == damaged


def test_other_rows_other_settings_and_too_few_rows_are_distinguished(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes(line(ROWS[0]) + line(ROWS[1]))
    with pytest.raises(UsageError, match=r"Row 2 of in\.jsonl is not the one"):
        resumed(file, iter([ROWS[0], ROWS[2]]))
    with pytest.raises(UsageError, match="with other settings"):
        resumed(file, settings="e" * 64)
    with pytest.raises(UsageError, match=r"more lines than in\.jsonl has rows"):
        resumed(file, iter(ROWS[:1]))


def test_beginning_anew_empties_a_batchs_output_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "out"
    for ours in (b"", line(ROWS[0]) + b"whatever", line(ROWS[0], OPENAI)[:30]):
        file.write_bytes(ours)
        with closing(Journal(file)) as journal:
            journal.clear()
        assert file.read_bytes() == b""
    file.write_bytes(b"precious\n")
    with closing(Journal(file)) as journal, pytest.raises(UsageError, match="holds something else"):
        journal.clear()
    assert file.read_bytes() == b"precious\n"


def test_lines_are_on_disk_at_a_rhythm(tmp_path: Path) -> None:
    now, synced = 0.0, 0

    class Counting(Journal):
        def sync(self) -> None:
            nonlocal synced
            synced += 1
            super().sync()

    with closing(Counting(tmp_path / "out", sync_interval=1.0, clock=lambda: now)) as journal:
        for step in range(30):
            now = step / 10
            journal.write(line(ROWS[0]))
            assert (tmp_path / "out").stat().st_size == (step + 1) * len(line(ROWS[0]))
        assert synced == 2
    assert synced == 3


def test_a_device_takes_all_of_a_line_or_says_why_not() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as reader:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            DeviceOutput(pipe, Path("pipe")).write(b"a line\n")
        assert reader.read() == b"a line\n"
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(PixtralError, match="No space left"):
        DeviceOutput(full, Path("/dev/full")).write(b"a line\n")


# What cannot be written


def test_a_line_that_does_not_fit_leaves_none_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(file: int, data: memoryview) -> int:
        if len(data) < len(line(ROWS[1])):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:20])

    with closing(Journal(tmp_path / "out")) as journal:
        journal.write(line(ROWS[0]))
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(PixtralError, match="cannot be written: No space left") as refused:
            journal.write(line(ROWS[1]))
        monkeypatch.undo()
        assert (tmp_path / "out").read_bytes() == line(ROWS[0])
        journal.write(line(ROWS[1]))
    assert refused.value.hint
    assert (tmp_path / "out").read_bytes() == line(ROWS[0]) + line(ROWS[1])


def test_lines_are_on_disk_a_second_after_they_were_written_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, synced = [0.0], []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(now[0]))
    with closing(Journal(tmp_path / "out", clock=lambda: now[0])) as journal:
        for second in (0.5, 0.9, 1.0, 1.5, 1.99, 2.0):
            now[0] = second
            journal.write(line(ROWS[0]))
        now[0] = 2.1
    assert synced == [1.0, 2.0, 2.1]


def test_what_may_not_be_on_disk_is_reported_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    journal = Journal(tmp_path / "out")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(PixtralError, match="may not be whole: Input/output error"):
        journal.close()
    with pytest.raises(OSError, match="Bad file"):  # it is closed nevertheless
        os.fstat(journal._file)


def test_failures_that_cannot_be_replaced_leave_both_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with closing(Journal(tmp_path / "out")) as journal, closing(Journal(tmp_path / "again")) as again:
        journal.write(failing(ROWS[0]))
        again.write(line(ROWS[0]))
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(PixtralError, match="cannot be written: No space left"):
            journal.replace_failures(again)
        monkeypatch.undo()
        assert (tmp_path / "out").read_bytes() == failing(ROWS[0])
        assert (tmp_path / "again").read_bytes() == line(ROWS[0])


def test_a_reader_that_has_gone_and_a_device_that_is_full_are_told_apart(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as device, pytest.raises(BrokenPipeError) as broken:
        DeviceOutput(device, tmp_path).write(b"a line\n")
    assert broken.value.errno is None  # a number would become the exit status
    with (
        Path("/dev/full").open("wb", buffering=0) as device,
        pytest.raises(PixtralError, match="/dev/full cannot be written"),
    ):
        DeviceOutput(device, Path("/dev/full")).write(b"a line\n")


def test_a_line_whose_json_is_damaged_counts_as_a_failure(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(line(ROWS[0])[:-3] + b"\n" + line(ROWS[1]))
    assert resumed(tmp_path / "out") == (2, [1])
