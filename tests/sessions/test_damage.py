"""Damaged session files: what is lost is named, nothing old comes back, nothing of another file is mixed in."""

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from PIL import Image as PILImage

from pixtral_cli import images
from pixtral_cli.chat.message import assistant, user
from pixtral_cli.errors import UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.sessions import rows, salvage
from pixtral_cli.sessions.database import SaveError
from pixtral_cli.sessions.library import Sessions
from tests.torture.pictures import encoded


def red() -> Image:
    return images.from_bytes(encoded(PILImage.new("RGB", (8, 8), "red"), "PNG"), "red.png")


def damaged(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "sessions.db")) as connection:
        connection.execute(statement)
        connection.commit()


def test_an_image_that_is_lost_leaves_a_mark(tmp_path: Path) -> None:
    with Sessions(tmp_path).add([user("look", [red()]), assistant("a")]) as session:
        name = session.id
    damaged(tmp_path, "DELETE FROM placements")
    assert "[an image was lost" in Sessions(tmp_path).load(name).messages[0].text


def test_a_lost_answer_stays_an_answer(tmp_path: Path) -> None:
    with Sessions(tmp_path).add([user("a"), assistant("b"), user("c"), assistant("d")]) as session:
        name = session.id
    damaged(tmp_path, "DELETE FROM messages WHERE position IN (1, 2)")
    messages = Sessions(tmp_path).load(name).messages
    assert [message.role for message in messages] == ["user", "assistant", "user", "assistant"]
    assert all("was lost" in message.text for message in messages[1:3])


def test_the_end_of_a_session_that_is_lost_is_marked(tmp_path: Path) -> None:
    with Sessions(tmp_path).add([user("a"), assistant("b"), user("c"), assistant("d")]) as session:
        name = session.id
    damaged(tmp_path, "DELETE FROM messages WHERE position > 1")
    messages = Sessions(tmp_path).load(name).messages
    assert [message.text for message in messages[:2]] == ["a", "b"]
    assert len(messages) == 4
    assert "was lost" in messages[3].text


def test_what_a_log_holds_from_before_its_last_beginning_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for pragma in ("page_size = 4096", "journal_mode = WAL", "wal_autocheckpoint = 0"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("CREATE TABLE t (a, b, c)")
        for number in range(5):
            connection.execute("INSERT INTO t VALUES (?, 'old', ?)", (number, "x" * 3000))
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
        connection.execute("UPDATE t SET b = 'new' WHERE a = 4")
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        connection.execute("DELETE FROM t WHERE a = 0")
        found = sorted(tuple(row[:2]) for _, row in salvage.read_rows(file, Path(f"{file}-wal")) if len(row) == 3)
        assert found == connection.execute("SELECT a, b FROM t ORDER BY a").fetchall()


def test_the_log_of_a_damaged_file_goes_aside_with_it(tmp_path: Path) -> None:
    first, copy = tmp_path / "first", tmp_path / "copy"

    def add(start: int, end: int) -> None:
        for number in range(start, end):
            with Sessions(first).add([user(f"question {number} {'x' * 3000}"), assistant("a")]):
                pass

    add(0, 10)
    with closing(sqlite3.connect(first / "sessions.db")) as reading:  # it keeps the log from being written back
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sessions").fetchall()
        add(10, 13)
        shutil.copytree(first, copy)
    for file in copy.glob("*-shm"):
        file.unlink()
    (copy / "sessions.db").write_bytes((copy / "sessions.db").read_bytes()[:50])
    with Sessions(copy).add([user("new"), assistant("ok")]) as session:
        name = session.id
    assert [message.text for message in Sessions(copy).load(name).messages] == ["new", "ok"]
    assert len(list(copy.glob("sessions.damaged*.db"))) == 1
    assert len(list(copy.glob("sessions.damaged*-wal"))) == 1


def test_a_message_beyond_the_end_does_not_stand_in_for_one_that_is_lost(tmp_path: Path) -> None:
    with Sessions(tmp_path).add([user("a"), assistant("b"), user("c")]) as session:
        name = session.id
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as connection:
        rows.write(connection, 1, 3, assistant("stray"), rows.Stamp(1.0))
        connection.execute("DELETE FROM messages WHERE position = 1")
        connection.commit()
    texts = [message.text for message in Sessions(tmp_path).load(name).messages]
    assert (texts[0], texts[2]) == ("a", "c")
    assert "was lost" in texts[1]


def test_a_session_of_which_only_the_messages_are_left_is_rebuilt_and_counts_as_one_with_gaps(tmp_path: Path) -> None:
    for question in ("a", "b"):
        with Sessions(tmp_path).add([user(question), assistant("answer")]):
            pass
    damaged(tmp_path, "UPDATE sessions SET checksum = 0 WHERE id = 1")
    sessions = Sessions(tmp_path)
    assert {entry.title for entry in sessions.list()} == {"a", "b"}
    assert "2 sessions were carried over, 1 of them with gaps" in sessions.database.notes[0]
    assert [len(sessions.load(entry.id).messages) for entry in sessions.list()] == [2, 2]


@pytest.mark.parametrize("links", [True, False])
def test_the_damaged_file_that_is_kept_is_its_owners_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    with Sessions(tmp_path).add([user("a secret"), assistant("b")]):
        pass
    damaged(tmp_path, "UPDATE sessions SET checksum = 0")
    content = (tmp_path / "sessions.db").read_bytes()
    before = os.umask(0o022)
    try:
        assert len(Sessions(tmp_path).list()) == 1
    finally:
        os.umask(before)
    (kept,) = tmp_path.glob("sessions.damaged*.db")
    assert kept.read_bytes()[:4096] == content[:4096]
    assert kept.stat().st_mode & 0o777 == 0o600


def one(folder: Path) -> str:
    with Sessions(folder).add([user("a question"), assistant("an answer")], title="My title", tags=["one"]) as session:
        return session.id


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sessions SET created = 'yesterday'",
        "UPDATE sessions SET title = 'another title'",
        "UPDATE branches SET settings = '{}'",
        "UPDATE branches SET tree = 'no JSON'",
        "UPDATE branches SET tree = '{}'",
        "UPDATE branches SET tree = '[]'",
        "UPDATE branches SET tree = '{\"parents\": 5}'",
        "UPDATE branches SET head = 99",
        "UPDATE messages SET text = 'something else' WHERE position = 0",
        "DROP TABLE branches",
    ],
)
def test_what_a_row_holds_that_was_not_written_is_found_and_the_rest_is_kept(tmp_path: Path, statement: str) -> None:
    """Listing, searching, loading, labelling: whichever comes first repairs the file and then does its work."""
    name = one(tmp_path)
    for number, use in enumerate((Sessions.list, lambda all: all.search("answer"), lambda all: all.load(name))):
        copy = tmp_path / str(number)
        copy.mkdir()
        shutil.copy(tmp_path / "sessions.db", copy)
        damaged(copy, statement)
        with suppress(UsageError):  # with its header a session loses its id
            use(Sessions(copy))  # type: ignore[operator]
        (session,) = Sessions(copy).list()
        messages = Sessions(copy).load(session.id).messages
        assert [message.role for message in messages] == ["user", "assistant"]
        assert "an answer" in messages[1].text


def test_a_folder_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SaveError, match=r"Cannot use .*file/below: Not a directory") as error:
        Sessions(tmp_path / "file" / "below").database.write(lambda connection: None)
    assert "PIXTRAL_HOME" in error.value.hint


def test_nothing_to_search_for_is_asked_back(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Search for what"):
        Sessions(tmp_path).search("  ")


@pytest.mark.parametrize(
    ("record", "says"),
    [(b"\x02\x01\x05!", "not a row"), (b"\x02\x07abc", "a short number"), (b"\x02\x0a", "a reserved kind")],
)
def test_bytes_that_are_no_row_are_not_read_as_one(record: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        salvage._record(record)


@pytest.mark.parametrize(
    ("record", "values"),
    [
        (b"\x02\x01\xff", [-1]), (b"\x02\x06\x7f" + b"\xff" * 7, [2**63 - 1]), (b"\x04\x00\x08\x09", [None, 0, 1]),
        (b"\x02\x07" + b"\x3f\xf8" + bytes(6), [1.5]), (b"\x03\x11\x10ab\xff\xfe", ["ab", b"\xff\xfe"]),
        (b"\x03\x81\x0d" + b"x" * 64, ["x" * 64]),
    ],
)  # fmt: skip
def test_a_row_is_read_value_by_value(record: bytes, values: list[object]) -> None:
    assert salvage._record(record) == values
