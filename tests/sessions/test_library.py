"""Sessions on disk: what was said comes back, is found, copied, locked and removed. Damage and kills are in tests/torture."""

import itertools
import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixtral_cli.chat.engine import Chunk
from pixtral_cli.chat.message import Message, assistant, user
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.images.transform import Box
from pixtral_cli.sessions.database import MIGRATIONS, Database, SaveError
from pixtral_cli.sessions.labels import title
from pixtral_cli.sessions.library import Sessions
from pixtral_cli.sessions.rows import Header, Stamp, write
from pixtral_cli.sessions.session import Session
from pixtral_cli.util.locks import FileLock, is_held
from tests.fakes import FakeEngine
from tests.images.colours import BLUE, GREEN, RED, picture

CROP = RED.cropped(Box(1, 1, 4, 3))


class Clock:
    """A second later at every look."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    return Sessions(tmp_path / "deep" / "data", Clock())


def saved(sessions: Sessions, *questions: str, images: Sequence[Image] = (), model: str = "fake") -> str:
    """The id of a closed session of these questions."""
    with sessions.start(model=model) as session:
        conversation = session.conversation()
        for question in questions:
            list(conversation.ask(FakeEngine([f"about {question}"]), question, images))
        assert session.take_notes() == []
        return session.id


def test_a_conversation_comes_back_as_it_was(sessions: Sessions) -> None:
    with sessions.start(model="fake", system="be brief") as session:
        conversation = session.conversation()
        list(conversation.ask(FakeEngine(["a red square"]), "what is it?", [RED, GREEN]))
        list(conversation.ask(FakeEngine(["yes\x00 \U0001f600"]), ("is ", CROP, " red?", RED)))
    with sessions.resume() as again:
        assert again.id == session.id
        assert again.conversation().messages == conversation.messages
        assert [image.data for image in again.conversation().images] == [RED.data, GREEN.data, RED.data]
        assert again.model == "fake"


def test_what_was_thought_comes_back_also_out_of_a_damaged_file(sessions: Sessions) -> None:
    with sessions.start(model="fake") as session:
        conversation = session.conversation()
        list(conversation.ask(FakeEngine([[Chunk(reasoning="Hm, \udcff."), Chunk("Yes")]]), "one"))
        list(conversation.ask(FakeEngine(["No"]), "two"))
    said = (user("one"), assistant("Yes", reasoning="Hm, ?."), user("two"), assistant("No"))
    assert sessions.load(session.id).messages == said
    with sqlite3.connect(sessions.database.file) as connection:
        connection.execute("UPDATE messages SET checksum = 0 WHERE position = 3")
    assert sessions.load(session.id).messages[:3] == said[:3]
    assert "was damaged" in sessions.database.notes[0]


def test_thinking_that_is_not_as_it_was_written_is_found(sessions: Sessions) -> None:
    with sessions.start(model="fake") as session:
        list(session.conversation().ask(FakeEngine([[Chunk(reasoning="Hm."), Chunk("Yes")]]), "one"))
    with sqlite3.connect(sessions.database.file) as connection:
        connection.execute('UPDATE details SET fields = \'{"reasoning": "Ha."}\'')
    assert sessions.load(session.id).messages == (user("one"), assistant("Yes"))
    assert "was damaged" in sessions.database.notes[0]


def test_a_file_that_moved_does_not_matter(sessions: Sessions, tmp_path: Path) -> None:
    from pixtral_cli import images

    file = tmp_path / "here.png"
    file.write_bytes(RED.data)
    name = saved(sessions, "look", images=[images.load(str(file))])
    file.unlink()
    (image,) = sessions.load(name).messages[0].images
    assert (image.name, image.data, image.pixels().getpixel((0, 0))) == ("here.png", RED.data, (255, 0, 0))


def test_nothing_is_on_disk_before_the_first_question(sessions: Sessions) -> None:
    with sessions.start(system="be brief") as session:
        session.conversation().system = "be long"
        assert not sessions.folder.exists()
        assert sessions.list() == ()


def test_a_question_is_on_disk_before_the_engine_starts(sessions: Sessions) -> None:
    class Looking(FakeEngine):
        def stream(self, messages: Sequence[Message], sampling: object) -> Iterator:  # type: ignore[type-arg]
            (self.summary,) = sessions.list()
            self.stored = sessions.load(self.summary.id).messages
            return super().stream(messages, sampling)  # type: ignore[arg-type]

    engine = Looking(["well"])
    with sessions.start() as session:
        list(session.conversation().ask(engine, "how are you?"))
    assert engine.stored == (user("how are you?"),)
    assert sessions.load(session.id).messages == (user("how are you?"), assistant("well"))


def test_ctrl_c_while_a_question_is_being_saved_loses_nothing_of_it(tmp_path: Path) -> None:
    pressed = itertools.chain([True], itertools.repeat(False))

    def clock() -> float:
        if next(pressed):
            raise KeyboardInterrupt
        return 1.0

    with Session(Database(tmp_path), clock=clock) as session, pytest.raises(KeyboardInterrupt):
        list(session.conversation().ask(FakeEngine(["never"]), "one"))
    assert [message.text for message in Sessions(tmp_path).load(session.id).messages] == ["one"]


def test_an_image_is_stored_once_however_often_it_is_shown(sessions: Sessions) -> None:
    noise = os.urandom(200_000)
    big = Image(noise, "noise.png", "PNG", 8, 6, __import__("hashlib").sha256(noise).hexdigest())
    for _ in range(4):
        saved(sessions, "one", "two", images=[big])
    assert sessions.database.file.stat().st_size < 2 * len(noise)


def test_every_version_comes_back_and_is_removed_with_its_session(sessions: Sessions) -> None:
    with sessions.start() as session:
        conversation = session.conversation()
        list(conversation.ask(FakeEngine(["fine"]), "my secret " * 2000, [RED]))
        conversation.undo()
        assert (sessions.list()[0].messages, sessions.load(session.id).messages) == (0, ())
        list(conversation.ask(FakeEngine(["first"]), "harmless"))
        list(conversation.regenerate(FakeEngine(["second"])))
        assert sessions.load(session.id).messages == conversation.turns
    with sessions.resume(session.id) as again:
        conversation = again.conversation()
        assert [message.text for message in conversation.turns] == ["harmless", "second"]
        assert [version.answer and version.answer.text for version in conversation.versions()] == [
            "fine",
            "first",
            "second",
        ]
        conversation.select(1)
    with sessions.resume(session.id) as again:
        assert again.conversation().history[0] == user("my secret " * 2000, [RED])
    sessions.remove([session.id])
    held_bytes = b"".join(file.read_bytes() for file in sessions.folder.iterdir() if file.is_file())
    assert b"secret" not in held_bytes
    assert RED.data not in held_bytes


def test_staged_images_numbers_and_settings_come_back(sessions: Sessions) -> None:
    with sessions.start() as session:
        conversation = session.conversation()
        list(conversation.ask(FakeEngine(["two"]), "look", [RED, GREEN]))
        conversation.drop(1)
        conversation.stage(BLUE)
        session.save_settings({"temperature": 0.2})
    with sessions.resume() as again:
        conversation = again.conversation()
        assert (conversation.numbered, conversation.staged) == ({2: GREEN, 3: BLUE}, (BLUE,))
        assert (again.settings, sessions.list()[0].messages) == ({"temperature": 0.2}, 2)
        list(conversation.ask(FakeEngine(["yes"]), conversation.compose("and this?")))
    with sessions.resume() as again:
        conversation = again.conversation()
        assert (conversation.staged, conversation.unanswered, len(conversation.turns)) == ((), None, 4)


def test_sessions_of_the_first_version_come_along(tmp_path: Path) -> None:
    """Rows as they were written before conversations had branches."""
    old = Sessions(tmp_path, Clock())
    old.database = Database(tmp_path, MIGRATIONS[:1])

    def fill(connection: sqlite3.Connection) -> None:
        for number, (name, updated) in enumerate((("older2", 1.0), ("newer2", 2.0))):
            session = Header(name, "t", "brief", "fake", None, 3, updated, updated).write(connection, None)
            said = (user(f"one {number}", [RED]), assistant("two"), user("three", [CROP]))
            for position, message in enumerate(said):
                write(connection, session, position, message, Stamp(1.0))

    old.database.write(fill)
    sessions = Sessions(tmp_path, Clock())
    assert [entry.id for entry in sessions.list()] == ["newer2", "older2"]
    assert sessions.load("older2").messages == (user("one 0", [RED]), assistant("two"), user("three", [CROP]))
    with sessions.resume("older2") as session:
        list(session.conversation().ask(FakeEngine(["four"]), "more"))
    assert [entry.id for entry in sessions.list()] == ["older2", "newer2"]
    assert [message.text for message in sessions.load("older2").messages] == ["one 0", "two", "three", "more", "four"]


def test_a_clock_set_back_neither_hides_the_newest_session_nor_prunes_it(sessions: Sessions) -> None:
    old = saved(sessions, "long ago")
    sessions._clock.now += 100 * 86_400  # type: ignore[attr-defined]
    young = saved(sessions, "yesterday")
    sessions._clock.now -= 20 * 365 * 86_400  # type: ignore[attr-defined]
    today = saved(sessions, "today")
    assert [entry.id for entry in sessions.list()] == [today, young, old]
    pruned = sessions.prune(before=1_000_000_000 + 50 * 86_400, dry=True)
    assert [entry.id for entry in pruned.sessions] == [old]


def test_clear_begins_a_new_session_and_keeps_the_old_one(sessions: Sessions) -> None:
    with sessions.start(system="be brief") as session:
        conversation = session.conversation()
        list(conversation.ask(FakeEngine(["A"]), "old"))
        first = session.id
        conversation.clear()
        list(conversation.ask(FakeEngine(["B"]), "new"))
        assert session.id != first
    assert [entry.title for entry in sessions.list()] == ["new", "old"]
    assert [entry.system for entry in sessions.list()] == ["be brief", "be brief"]


def test_a_title_is_the_first_line_of_the_first_question_or_the_name_of_its_image(sessions: Sessions) -> None:
    assert sessions.find(saved(sessions, "  What   is\tthis?\nAnd that?")).title == "What is this?"
    assert sessions.find(saved(sessions, "", images=[picture("red", "cat.png")])).title == "cat.png"
    two = Message("user", ("Is ", picture("red", "a.png"), " like ", picture("blue", "b.png"), "?"))
    assert title([two]) == "Is #1 like #2?"
    assert sessions.find(saved(sessions, "word " * 50)).title == ("word " * 50)[:59] + "…"


def test_the_list_is_newest_first_and_continue_takes_the_first(sessions: Sessions) -> None:
    one, two = saved(sessions, "one", images=[RED, GREEN]), saved(sessions, "two", "more")
    assert [entry.id for entry in sessions.list()] == [two, one]
    with sessions.resume(one) as session:
        list(session.conversation().ask(FakeEngine(["yes"]), "again"))
    newest, older = sessions.list()
    assert (newest.id, newest.messages, newest.images, newest.created < older.created) == (one, 4, 2, True)
    assert [entry.id for entry in sessions.list(1)] == [one]
    with sessions.resume() as session:
        assert session.id == one


def test_without_sessions_continue_says_what_to_do(sessions: Sessions) -> None:
    with pytest.raises(UsageError, match="no saved session") as error:
        sessions.resume()
    assert error.value.hint == "Start one: pixtral chat"


def test_an_id_may_be_cut_short_as_long_as_it_is_one(sessions: Sessions) -> None:
    for number, name in enumerate(("abc234", "abd234", "abc2")):
        sessions.database.write(
            lambda c, name=name, at=float(number): Header(name, "", None, "", None, 0, at, at).write(c, None)
        )  # type: ignore[misc]
    assert sessions.find("abd").id == sessions.find(" ABD2 ").id == "abd234"
    assert sessions.find("abc2").id == "abc2"  # whole, though another begins with it
    with pytest.raises(UsageError, match="3 sessions begin with ab: abc2, abd234, abc234"):
        sessions.find("ab")
    for wrong in ("zz", "", "%"):
        with pytest.raises(UsageError, match="no session"):
            sessions.find(wrong)


def test_the_model_of_each_answer_is_kept(sessions: Sessions) -> None:
    with sessions.start(model="one") as session:
        conversation = session.conversation()
        list(conversation.ask(FakeEngine(["A"]), "?"))
        session.model = "two"
        list(conversation.ask(FakeEngine(["B"]), "?"))
    assert [stamp.model for stamp in sessions.load(session.id).stamps] == ["", "one", "", "two"]
    assert sessions.find(session.id).model == "two"


def test_an_interrupted_answer_and_an_unanswered_question_come_back_as_such(sessions: Sessions) -> None:
    with sessions.start() as session:
        conversation = session.conversation()
        answer = conversation.ask(FakeEngine(["one two three"]), "count")
        next(answer)
        answer.close()
        with pytest.raises(PixtralError):
            list(conversation.ask(FakeEngine([PixtralError("no")]), "more", [RED]))
    with sessions.resume() as again:
        conversation = again.conversation()
        assert conversation.turns == (user("count"), assistant("one ", interrupted=True))
        assert conversation.unanswered == user("more", [RED])


def test_search_finds_every_word_in_one_message_whatever_its_case_or_script(sessions: Sessions) -> None:
    dragon = saved(
        sessions, "When did things go wrong for the DARK dragon?\nSince 1998?", images=[picture("red", "Chart.png")]
    )
    straße = saved(sessions, "Straße und 猫が好き 100% _x_")
    assert [(hit.summary.id, hit.position) for hit in sessions.search("dragon dark")] == [(dragon, 0), (dragon, 1)]
    assert [hit.summary.id for hit in sessions.search("STRASSE")] == [straße, straße]
    assert len(sessions.search("猫")) == len(sessions.search("100%")) == 2
    assert [hit.role for hit in sessions.search("chart.png")] == ["user"]
    assert sessions.search("dragon straße") == sessions.search("1_0") == ()
    assert "\n" not in sessions.search("dark")[0].snippet


def test_search_finds_a_session_by_its_title_and_tags_too(sessions: Sessions) -> None:
    with sessions.add([user("what is this?"), assistant("A triangle.")]) as session:
        name = session.id
    sessions.rename(name, "Mein Dreieck äöü")
    sessions.tag(name, ["geometry"])
    for words in ("dreieck", "ÄÖÜ mein", "#geometry", "Dreieck geometry"):
        (hit,) = sessions.search(words)
        assert (hit.summary.id, hit.role, hit.snippet) == (name, "title", "Mein Dreieck äöü #geometry")
    assert [hit.role for hit in sessions.search("triangle")] == ["assistant"]
    assert sessions.search("dreieck receipts") == ()


def test_search_is_quick_in_a_thousand_sessions(sessions: Sessions) -> None:
    words = "lorem ipsum dolor sit amet " * 40

    def fill(connection: sqlite3.Connection) -> None:
        for number in range(1000):
            session = Header(f"s{number}", "", None, "", None, 10, 1.0, 1.0).write(connection, None)
            for position in range(10):
                write(connection, session, position, user(f"{words} {number}"), Stamp(1.0))

    sessions.database.write(fill)
    began = time.process_time()
    assert len(sessions.search("AMET 999")) == 10
    assert time.process_time() - began < 1  # 0.05 s on two busy cores: an index would not be felt


def test_remove_takes_the_session_and_the_images_of_no_other_session(sessions: Sessions) -> None:
    one, two = saved(sessions, "one", images=[RED, GREEN]), saved(sessions, "two", images=[GREEN, BLUE])
    assert sessions.remove([one]) == 1
    assert [entry.id for entry in sessions.list()] == [two]
    assert [image.name for image in sessions.load(two).messages[0].images] == ["green.png", "blue.png"]
    assert RED.data not in sessions.database.file.read_bytes()
    with pytest.raises(UsageError, match="no session"):
        sessions.load(one)


def test_words_that_were_removed_are_not_in_the_file_where_sqlite_would_leave_them(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def connect_as_built_elsewhere(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA secure_delete = OFF")  # SQLite's own default; some systems build it otherwise
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_as_built_elsewhere)
    secret, kept = saved(sessions, "the word is xylophone"), saved(sessions, "another question")
    assert b"xylophone" in stored_bytes(sessions)
    sessions.remove([secret])
    assert b"xylophone" not in stored_bytes(sessions)
    assert sessions.load(kept).messages[0].text == "another question"


def stored_bytes(sessions: Sessions) -> bytes:
    """What the database and its log hold."""
    return b"".join(file.read_bytes() for file in sessions.database.folder.glob("sessions.db*"))


def test_prune_spares_the_newest_the_young_and_the_open(sessions: Sessions) -> None:
    names = [saved(sessions, str(number), images=[picture("red", str(number))]) for number in range(5)]
    before = sessions.list()[1].updated
    with sessions.resume(names[0]):
        dry = sessions.prune(before=before, keep=1, dry=True)
        assert [entry.id for entry in dry.sessions] == [names[2], names[1]]
        assert len(sessions.list()) == 5
        done = sessions.prune(before=before, keep=1)
    assert (done.sessions, [entry.id for entry in done.kept], done.images) == (dry.sessions, [names[0]], 0)
    assert [entry.id for entry in sessions.list()] == [names[4], names[3], names[0]]
    assert len(sessions.prune(keep=1).sessions) == 2
    assert sessions.prune(keep=0).images == 1
    assert sessions.list() == ()


def test_pruning_gives_the_room_back(sessions: Sessions) -> None:
    big = Image(os.urandom(3_000_000), "noise.png", "PNG", 8, 6, "0" * 64)
    saved(sessions, "big", images=[big])
    assert sessions.database.file.stat().st_size > 3_000_000
    sessions.prune(keep=0)
    assert sessions.database.file.stat().st_size < 100_000


def test_an_open_session_is_not_removed(sessions: Sessions) -> None:
    name = saved(sessions, "one")
    with sessions.resume(name), pytest.raises(UsageError, match=f"is open in process {os.getpid()}"):
        sessions.remove([name])
    assert sessions.remove([name]) == 0
    assert sessions.list() == ()


def test_a_fork_goes_its_own_way(sessions: Sessions) -> None:
    name = saved(sessions, "one", images=[RED])
    with sessions.fork(name) as fork:
        list(fork.conversation().ask(FakeEngine(["yes"]), "two"))
    assert len(sessions.load(name).messages) == 2
    assert len(sessions.load(fork.id).messages) == 4
    assert sessions.find(fork.id).origin == name


def test_two_who_open_one_session_get_two(sessions: Sessions) -> None:
    name = saved(sessions, "one")
    with sessions.resume(name) as first, sessions.resume(name) as second:
        assert (first.id, first.take_notes()) == (name, [])
        (note,) = second.take_notes()
        assert note == f"Session {name} is open in process {os.getpid()}: this is a copy of it, {second.id}"
        assert len(sessions.list()) == 1  # a copy nobody writes to is not kept
        list(first.conversation().ask(FakeEngine(["A"]), "first"))
        list(second.conversation().ask(FakeEngine(["B"]), "second"))
    assert [message.text for message in sessions.load(name).messages][2:] == ["first", "A"]
    assert [message.text for message in sessions.load(second.id).messages][2:] == ["second", "B"]
    assert sessions.find(second.id).origin == name


def test_a_session_another_process_removed_is_saved_again_whole(sessions: Sessions) -> None:
    with sessions.start() as session:
        conversation = session.conversation()
        list(conversation.ask(FakeEngine(["A"]), "one", [RED]))
        sessions.database.write(lambda connection: connection.execute("DELETE FROM sessions"))
        list(conversation.ask(FakeEngine(["B"]), "two"))
    assert sessions.load(session.id).messages == conversation.turns


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    code = f"from pathlib import Path\nfrom pixtral_cli.util.locks import FileLock\nlock = FileLock.acquire(Path({str(file)!r}))\nprint(flush=True)\ninput()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    assert is_held(file)
    assert FileLock.acquire(file) is None
    child.kill()
    child.communicate()
    assert not is_held(file)
    lock = FileLock.acquire(file)
    assert lock is not None
    lock.release()
    assert not file.exists()


def test_what_is_saved_is_for_its_owner_alone(sessions: Sessions, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with sessions.start() as session:
            list(session.conversation().ask(FakeEngine(["A"]), "one"))
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "deep").rglob("*")}
    finally:
        os.umask(old)
    assert modes.pop("data") == modes.pop("locks") == 0o700
    assert stat.S_IMODE((tmp_path / "deep").stat().st_mode) == 0o700
    assert set(modes) == {"sessions.db", session.id}
    assert set(modes.values()) == {0o600}


def test_a_database_is_durable_by_its_settings(sessions: Sessions) -> None:
    saved(sessions, "one")

    def look(connection: sqlite3.Connection) -> tuple[object, ...]:
        names = ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)

    nothing: tuple[object, ...] = ()
    assert sessions.database.read(look, nothing) == ("wal", 2, 1, 1)


def test_an_older_database_is_migrated_and_a_newer_one_left_alone(sessions: Sessions) -> None:
    name = saved(sessions, "one")
    newer = (*MIGRATIONS, "ALTER TABLE sessions ADD COLUMN mood TEXT; UPDATE sessions SET mood = 'good'")
    moods = Database(sessions.folder, newer).write(lambda c: c.execute("SELECT name, mood FROM sessions").fetchall())
    assert moods == [(name, "good")]
    with pytest.raises(PixtralError, match="newer pixtral"):
        sessions.list()
    with sessions.start() as session:
        list(session.conversation().ask(FakeEngine(["A"]), "two"))
        (note,) = session.take_notes()
    assert note.startswith("This conversation is not being saved. A newer pixtral saved")


def write_one(folder: Path, number: int) -> None:
    saved(Sessions(folder), f"from {number}", images=[RED])


def test_many_processes_may_make_the_database_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    workers = [spawn.Process(target=write_one, args=(tmp_path / "data", number)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert {entry.title for entry in Sessions(tmp_path / "data").list()} == {f"from {number}" for number in range(8)}


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
PARTS = st.lists(st.one_of(TEXTS, st.sampled_from([RED, GREEN, CROP])), max_size=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(st.lists(PARTS, min_size=1, max_size=4))
def test_any_parts_in_any_order_come_back(tmp_path: Path, questions: list[list[str | Image]]) -> None:
    sessions = Sessions(tmp_path / "data")
    said = [Message("user", tuple(parts)) for parts in questions]
    with sessions.add(said) as session:
        again = sessions.load(session.id).messages
    assert [(message.text, message.images) for message in again] == [(message.text, message.images) for message in said]
    assert [flat(message) for message in again] == [flat(message) for message in said]


def flat(message: Message) -> list[str | Image]:
    """The parts with adjacent texts as one: tokens do not know where one ended."""
    result: list[str | Image] = []
    for part in message.parts:
        if part and isinstance(part, str) and result and isinstance(result[-1], str):
            result[-1] += part
        elif part:
            result.append(part)
    return result


def test_half_characters_are_saved_as_question_marks(sessions: Sessions) -> None:
    with sessions.start() as session:
        list(session.conversation().ask(FakeEngine(["\ud83d ok"]), "bad \udcff byte"))
        assert session.take_notes() == []
    assert [message.text for message in sessions.load(session.id).messages] == ["bad ? byte", "? ok"]


def test_a_session_can_be_used_from_another_thread(sessions: Sessions) -> None:
    import threading

    with sessions.start() as session:
        conversation = session.conversation()
        worker = threading.Thread(target=lambda: list(conversation.ask(FakeEngine(["A"]), "one")))
        worker.start()
        worker.join()
        list(conversation.ask(FakeEngine(["B"]), "two"))
    assert len(sessions.load(session.id).messages) == 4
    assert isinstance(session, Session)


def test_going_on_with_another_model_names_it_from_then_on(sessions: Sessions) -> None:
    name = saved(sessions, "one", model="first")
    with sessions.resume(name, model="second") as session:
        list(session.conversation().ask(FakeEngine(["yes"]), "two"))
    assert sessions.find(name).model == "second"
    with sessions.resume(name) as session:
        list(session.conversation().ask(FakeEngine(["yes"]), "three"))
    assert sessions.find(name).model == "second"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{'x' * 110} dragon", f"{'x' * 110} dragon"),
        (f"{'x' * 200} dragon {'y' * 200}", f"…{'x' * 29} dragon {'y' * 83}…"),
        (f"dragon {'y' * 200}", f"dragon {'y' * 113}…"),
    ],
    ids=["short enough to be shown whole", "around the word", "from its beginning"],
)
def test_a_search_shows_the_words_where_they_stand(sessions: Sessions, text: str, shown: str) -> None:
    saved(sessions, text)
    assert [hit.snippet for hit in sessions.search("dragon") if hit.role == "user"] == [shown]


def test_a_title_of_ones_own_and_tags_do_not_go_over_to_the_next_conversation(sessions: Sessions) -> None:
    with sessions.start() as session:
        conversation = session.conversation()
        list(conversation.ask(FakeEngine(["A"]), "old"))
        session.save_settings({"title": "Receipts", "tags": ["work"], "temperature": 0.5})
        conversation.clear()
        list(conversation.ask(FakeEngine(["B"]), "new"))
    new, old = sessions.list()
    assert (new.title, new.tags, old.title, old.tags) == ("new", (), "Receipts", ("work",))
    assert sessions.settings(new.id)["temperature"] == 0.5


def test_what_could_not_be_saved_is_saved_when_the_session_is_left(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(work: object) -> None:
        raise SaveError("The disk is full")

    session = sessions.start()
    with monkeypatch.context() as broken:
        broken.setattr(sessions.database, "write", full)
        list(session.conversation().ask(FakeEngine(["yes"]), "one"))
        assert session.take_notes() == ["This conversation is not being saved. The disk is full"]
    session.close()
    assert [message.text for message in sessions.load(session.id).messages] == ["one", "yes"]


def test_a_new_database_is_durable_before_anything_is_said_to_be_saved(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name too: the folder is synced once the file is in it."""
    fsync, in_place = os.fsync, []

    def synced(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            in_place.append(sessions.database.file.exists())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    saved(sessions, "one")
    assert in_place == [True]
