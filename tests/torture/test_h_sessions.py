"""Torture H: sessions on a full disk, under a clock that goes wrong."""

import io
import os
import resource
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image as PILImage

from pixtral_cli import images
from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.engine import Chunk, Sampling
from pixtral_cli.chat.message import Message, assistant, user
from pixtral_cli.images.image import Image
from pixtral_cli.sessions import salvage
from pixtral_cli.sessions.library import Sessions
from pixtral_cli.terminal.ask import ask
from pixtral_cli.terminal.ask.request import Request
from pixtral_cli.terminal.output.notes import many_images_note
from pixtral_cli.terminal.output.output import Output
from tests.fakes import FakeEngine
from tests.terminal.repl.driver import Room
from tests.torture.pictures import encoded


def noise(seed: int, side: int = 700) -> Image:
    """A picture of three bytes a pixel, whatever compresses it."""
    pixels = PILImage.frombytes("RGB", (side, side), os.urandom(3 * side * side))
    return images.from_bytes(encoded(pixels, "PNG"), f"{seed}.png")


def saved(sessions: Sessions, count: int, side: int = 700) -> list[str]:
    names = []
    for number in range(count):
        with sessions.add([user(f"question {number}", [noise(number, side)]), assistant("answer")]) as session:
            names.append(session.id)
    return names


def add(sessions: Sessions, text: str) -> str:
    with sessions.add([user(text)]) as session:
        return session.id


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process; returns its exit status."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def test_on_a_full_disk_sessions_are_removed_and_give_their_space_back(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "data")
    names = saved(sessions, 3, 1800)
    kept = add(sessions, "kept")
    size = sessions.database.file.stat().st_size

    def remove() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # a log of what is removed is larger
        assert sessions.remove(names) == 3
        assert sessions.load(kept).messages[0].text == "kept"

    assert in_child(remove) == 0
    assert sessions.database.file.stat().st_size < 100_000
    assert [entry.id for entry in sessions.list()] == [kept]
    with sessions.add([user("goes on")]) as session:
        assert sessions.load(session.id).messages[0].text == "goes on"
    assert not any(b"question 0" in str(row).encode() for row in salvage.read_rows(sessions.database.file))


def test_removing_one_of_many_sessions_does_not_write_the_database_anew(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "data")
    names = saved(sessions, 8)
    size = sessions.database.file.stat().st_size
    small = add(sessions, "small")

    def remove() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100_000, size + 100_000))
        before = written()
        sessions.remove([small])
        assert written() - before < size / 4

    assert in_child(remove) == 0
    sessions.remove(names[:1])
    assert sessions.database.file.stat().st_size < size * 0.95


def written() -> int:
    """Bytes that this process has handed to the system to write."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


def test_a_database_of_an_older_version_is_written_anew_once_and_shrinks_in_place_then(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "data")
    names = saved(sessions, 3)
    with closing(sqlite3.connect(sessions.database.file, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    size = sessions.database.file.stat().st_size
    for left, name in zip((2, 1, 0), names, strict=True):
        assert sessions.remove([name]) == 1
        assert len(sessions.list()) == left
        assert sessions.database.file.stat().st_size < size * (left + 0.5) / 3
    with closing(sqlite3.connect(sessions.database.file)) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


DAY = 86_400.0


def test_a_clock_set_back_changes_neither_the_order_nor_what_is_continued(tmp_path: Path) -> None:
    clock = Clock(1_800_000_000.0)
    sessions = Sessions(tmp_path, clock)
    first = add(sessions, "first")
    clock.now -= 400 * DAY
    second = add(sessions, "second")
    assert [entry.id for entry in sessions.list()] == [second, first]
    assert sessions.newest().id == second
    with sessions.resume(first) as session:
        list(session.conversation().ask(FakeEngine(["yes"]), "goes on"))
    assert sessions.newest().id == first
    clock.now += 800 * DAY
    with sessions.resume(second) as session:
        list(session.conversation().ask(FakeEngine(["yes"]), "goes on"))
    assert [entry.id for entry in sessions.list()] == [second, first]


@pytest.mark.parametrize("ahead", [400 * DAY, -400 * DAY])
def test_prune_removes_nothing_that_may_be_young(tmp_path: Path, ahead: float) -> None:
    """One session is saved under a right clock, one under a wrong one, then the clock is right again."""
    now = 1_800_000_000.0
    clock = Clock(now - 30 * DAY)
    sessions = Sessions(tmp_path, clock)
    old = add(sessions, "a month old")
    clock.now = now - 20 * DAY + ahead
    wrong = add(sessions, "of a wrong clock")
    clock.now = now
    young = add(sessions, "of today")
    gone = {entry.id for entry in sessions.prune(before=now - 10 * DAY).sessions}
    assert young not in gone
    assert old in gone
    assert (wrong in gone) is (ahead < 0)  # it is older than one of today, whatever it says


def test_a_conversation_with_many_images_says_so_and_the_way_on_before_it_is_asked(tmp_path: Path) -> None:
    conversation = Conversation()
    for number in range(60):
        picture = images.from_bytes(encoded(PILImage.new("RGB", (8, 8), (number, 0, 0)), "PNG"), f"{number}.png")
        if number == 49:
            assert many_images_note(conversation, "") == ""
        list(conversation.ask(FakeEngine(["a shade"]), "?", [picture]))
    conversation.drop(7)
    note = many_images_note(conversation, "")
    assert note.startswith("All 59 images are read again before the next answer, which may take minutes; ")
    command = note.partition("; ")[2].partition(" leaves")[0]
    assert command == "/drop 1-6 8-50"
    room = Room(tmp_path, FakeEngine(["red"]))
    with room.sessions.start() as session:
        session.update(conversation.snapshot())
        name = session.id
    said = room.type(f"/load {name}", command, "and now?")
    assert note in " ".join(said.split())
    assert sum(len(message.images) for message in room.engine.seen[0][0]) == 10
    assert sum("a shade" in message.text for message in room.engine.seen[0][0]) == 60


def test_ask_says_before_the_answer_that_many_images_are_read_again() -> None:
    said = []
    for number in range(50):
        picture = images.from_bytes(encoded(PILImage.new("RGB", (8, 8), (number, 0, 0)), "PNG"), f"{number}.png")
        said += [user("?", [picture]), assistant("a shade")]
    conversation, told = Conversation(messages=said), io.StringIO()

    class Engine(FakeEngine):
        def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
            assert "All 50 images" in told.getvalue()
            return super().stream(messages, sampling)

    ask.answer(Request("more?"), user("more?"), conversation, Engine(["yes"]), Output(io.StringIO(), told))
    assert "in `pixtral chat -c`, /drop 1-40 leaves the last 10" in told.getvalue()
