"""Locks between processes: one holds, others are refused or wait, the holder's process id can be read, nothing is left behind."""

import os
import threading
from pathlib import Path

import pytest

from pixtral_cli.util import locks
from pixtral_cli.util.locks import FileLock, holder_pid, is_held


def test_a_lock_is_held_by_one_and_gone_with_its_file_afterwards(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    assert not is_held(file)
    lock = FileLock.acquire(file)
    assert lock
    assert FileLock.acquire(file) is None
    assert is_held(file)
    assert holder_pid(file) == str(os.getpid())
    assert file.stat().st_mode & 0o777 == 0o600
    lock.release()
    assert not file.exists()
    assert not is_held(file)
    with FileLock.acquire(file) or pytest.fail("it is free again"):
        assert is_held(file)
    assert not file.exists()


def test_a_lock_that_is_waited_for_comes_when_it_is_released(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    first = FileLock.acquire(file)
    assert first
    second: list[FileLock | None] = []
    waiting = threading.Thread(target=lambda: second.append(FileLock.acquire(file, wait=True)))
    waiting.start()
    first.release()  # and removes the file that the other has open
    waiting.join(120)
    assert second[0]
    assert is_held(file)
    assert FileLock.acquire(file) is None
    second[0].release()


def test_a_file_that_was_removed_while_it_was_locked_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lock"
    lock_handle, calls = locks._lock_handle, 0

    def lock_handle_late(handle: int, wait: bool) -> None:
        nonlocal calls
        calls += 1
        lock_handle(handle, wait)
        if calls == 1:
            file.unlink()  # its last holder released it in this moment

    monkeypatch.setattr(locks, "_lock_handle", lock_handle_late)
    lock = FileLock.acquire(file)
    assert lock
    assert calls == 2
    assert file.exists()
    monkeypatch.undo()
    assert FileLock.acquire(file) is None
    lock.release()


def test_a_lock_of_an_earlier_process_is_free_and_says_who_holds_it_now(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.write_text("12345678901234567890")
    assert not is_held(file)
    file.write_text("12345678901234567890")
    with FileLock.acquire(file) or pytest.fail("it is free"):
        assert holder_pid(file) == str(os.getpid())


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_process_id_that_cannot_be_read_is_empty(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "lock").write_bytes(content)
    assert holder_pid(tmp_path / "lock") == ""


def test_where_no_lock_can_be_made_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        FileLock.acquire(tmp_path / "nowhere" / "lock")
