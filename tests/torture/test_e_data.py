"""Torture E, data: nothing that was acknowledged is lost, whatever happens to the process, the file, the disk or the name."""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.chat.code_files import write_block
from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.message import Message
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.sessions import transcript
from pixtral_cli.sessions.library import Sessions
from pixtral_cli.sessions.repair import LOST
from pixtral_cli.sessions.transcript import Format, Transcript
from tests.fakes import FakeEngine
from tests.images.colours import BLUE, GREEN, RED
from tests.server.processes import until

PAGE = 4096


def forked(work: Callable[[], None]) -> int:
    """Run `work` in a child process of its own; returns its number."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    return pid


# 54. kill -9 at random instants in a turn


def spoken(messages: tuple[Message, ...]) -> list[list[Any]]:
    return [[m.role, m.text, m.interrupted, [image.key for image in m.images]] for m in messages]


def everything(conversation: Conversation) -> list[list[Any]]:
    return spoken((*conversation.turns, *((conversation.unanswered,) if conversation.unanswered else ())))


class Talker:
    """Talks without end and acknowledges: before each step the states it may end in, after it the one it did end in."""

    def __init__(self, folder: Path, seed: int, acknowledged: Path) -> None:
        self.random = random.Random(seed)
        self.handle = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        sessions = Sessions(folder)
        new = not sessions.list() or self.random.random() < 0.2
        self.session = sessions.start() if new else sessions.resume()
        self.conversation = self.session.conversation()

    def talk(self) -> None:
        while True:
            step = self.random.choice([self.ask, self.ask, self.ask, self.stop, self.again, self.edit, self.undo])
            if len(self.conversation.turns) > 20:
                self.conversation.clear()
            step()
            self.say([everything(self.conversation)])

    def say(self, outcomes: list[list[list[Any]]]) -> None:
        os.write(self.handle, (json.dumps({"id": self.session.id, "outcomes": outcomes}) + "\n").encode())

    def words(self) -> str:
        return f"{self.random.getrandbits(64):x}" * self.random.choice([1, 1, 2000])

    def may_become(self, base: list[list[Any]], question: list[Any], answer: str, interrupted: bool = False) -> None:
        now = everything(self.conversation)
        asked = [*base, question]
        done = [*base, question, ["assistant", answer, interrupted, []]]
        self.say([now, asked, done] if question not in now else [now, done])

    def ask(self) -> None:
        question, answer = self.words(), self.words()
        images = self.random.sample([RED, GREEN, BLUE], self.random.choice([0, 0, 1, 3]))
        asked = ["user", question, False, [image.key for image in images]]
        self.may_become(everything(self.conversation), asked, answer)
        list(self.conversation.ask(FakeEngine([answer]), question, images))

    def stop(self) -> None:
        question, answer = self.words(), self.words()
        self.may_become(everything(self.conversation), ["user", question, False, []], answer, True)
        with closing(self.conversation.ask(FakeEngine([[answer, "more"]]), question)) as chunks:
            next(chunks)

    def again(self) -> None:
        if self.conversation.turns and not self.conversation.unanswered:
            base, answer = spoken(self.conversation.turns), self.words()
            self.may_become(base[:-2], base[-2], answer)
            list(self.conversation.regenerate(FakeEngine([answer])))

    def edit(self) -> None:
        if self.conversation.turns and not self.conversation.unanswered:
            question, answer = self.words(), self.words()
            self.may_become(spoken(self.conversation.turns)[:-2], ["user", question, False, []], answer)
            list(self.conversation.edit(FakeEngine([answer]), question))

    def undo(self) -> None:
        if self.conversation.turns:
            now, turns = everything(self.conversation), spoken(self.conversation.turns)
            self.say([now, turns if len(now) > len(turns) else turns[:-2]])
            self.conversation.undo()


def last_word(acknowledged: Path) -> dict[str, Any] | None:
    """The last whole line; a line the kill tore off was never acknowledged."""
    lines = acknowledged.read_text().split("\n")[:-1] if acknowledged.exists() else []
    return json.loads(lines[-1]) if lines else None


def kill_in_mid_turn(folder: Path, times: int) -> int:
    """Kill so many talkers and compare what is on disk with what they had acknowledged; returns the number of sessions."""
    chance = random.Random(54)
    known: dict[str, list[list[list[Any]]]] = {}
    for seed in range(times):
        acknowledged = folder / f"{seed}.log"
        pid = forked(lambda seed=seed, log=acknowledged: Talker(folder / "data", seed, log).talk())  # type: ignore[misc]
        if seed % 8:  # one in eight may be killed before it has said anything
            until(lambda log=acknowledged: log.exists() and log.stat().st_size > 0)  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.08))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        sessions = Sessions(folder / "data")
        for line in acknowledged.read_text().split("\n")[:-1] if acknowledged.exists() else []:
            word = json.loads(line)
            known[word["id"]] = word["outcomes"]
        if last := last_word(acknowledged):
            assert stored(sessions, last["id"]) in last["outcomes"], f"kill {seed}"
    sessions = Sessions(folder / "data")
    # One whose every turn was undone is listed too: /redo brings them back.
    assert {id_ for id_ in known if stored(sessions, id_)} <= {entry.id for entry in sessions.list()} <= known.keys()
    for id_, outcomes in known.items():
        assert stored(sessions, id_) in outcomes
    assert sessions.database.notes == []
    assert not list((folder / "data").glob("sessions.damaged*"))
    return len(known)


def stored(sessions: Sessions, id_: str) -> list[list[Any]]:
    try:
        return spoken(sessions.load(id_).messages)
    except UsageError:
        return []


def test_54_a_process_killed_in_mid_turn_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    assert kill_in_mid_turn(tmp_path, 50) > 5


@pytest.mark.slow
def test_54_a_thousand_kills_lose_nothing(tmp_path: Path) -> None:
    assert kill_in_mid_turn(tmp_path, 1000) > 100


# 55. A truncated database, an overwritten page, a torn line


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dozen sessions of several sizes, some of them with a large image."""
    folder = tmp_path_factory.mktemp("whole")
    sessions = Sessions(folder)
    noise = os.urandom(30_000)
    large = Image(noise, "large.png", "PNG", 8, 6, hashlib.sha256(noise).hexdigest())
    for number in range(12):
        with sessions.start(model="fake", system="be brief") as session:
            conversation = session.conversation()
            for turn in range(1 + number % 3):
                images = [(RED, GREEN, BLUE, large)[number % 4]] if turn == 0 else []
                words = f"question {number} {turn} " * (400 if number == 7 else 10)
                list(conversation.ask(FakeEngine([f"answer {number} {turn}"]), words, images))
    return folder


def pages(folder: Path) -> int:
    return (folder / "sessions.db").stat().st_size // PAGE


def damaged(whole: Path, to: Path, how: Callable[[bytearray], None]) -> Sessions:
    shutil.copytree(whole, to)
    data = bytearray((to / "sessions.db").read_bytes())
    how(data)
    (to / "sessions.db").write_bytes(data)
    return Sessions(to)


def survey(whole: Path, sessions: Sessions) -> None:
    """Every text and image whose bytes are in the damaged file whole is found again, what is not is named as lost."""
    wrecked = sessions.database.file.read_bytes()
    for entry in sessions.list():
        stored(sessions, entry.id)  # reading is what finds the damage
    before, after = talks(Sessions(whole)), talks(sessions)
    found = {text for talk in after.values() for _, text, *_ in talk}
    for _, text, *_ in [message for talk in before.values() for message in talk]:
        assert any(text in other for other in found) or text.encode() not in wrecked, text[:40]
    pictures = {image.key: image for image in (RED, GREEN, BLUE)}
    for id_ in before.keys() & after.keys():
        for old, new in zip(before[id_], after[id_], strict=True):
            assert old == new or LOST in new[1]
            for image in (
                pictures[key] for key in old[3] if old[1] in new[1] and key not in new[3] and key in pictures
            ):
                assert image.data not in wrecked or image.name.encode() not in wrecked
    kept = list(sessions.folder.glob("sessions.damaged-*.db"))
    if sessions.database.notes:
        (note,) = sessions.database.notes
        assert [file.read_bytes() for file in kept] == [wrecked]
        assert note.startswith("The session file was damaged: ")
        assert str(kept[0]) in note
    else:
        assert (kept, after) == ([], before)


def talks(sessions: Sessions) -> dict[str, list[list[Any]]]:
    return {entry.id: spoken(sessions.load(entry.id).messages) for entry in sessions.list()}


@pytest.mark.parametrize("part", [0.99, 0.75, 0.5, 0.25])
def test_55_of_a_truncated_database_what_is_left_loads(whole: Path, tmp_path: Path, part: float) -> None:
    size = int(pages(whole) * part) * PAGE + 100
    sessions = damaged(whole, tmp_path / "data", lambda data: data.__delitem__(slice(size, None)))
    survey(whole, sessions)
    with sessions.start() as session:
        list(session.conversation().ask(FakeEngine(["fine"]), "how are you?"))
        assert session.saved


@pytest.mark.parametrize("size", [0, 1, 50, PAGE])
def test_55_a_database_of_which_nothing_is_left_is_kept_aside_and_the_chat_goes_on(
    whole: Path, tmp_path: Path, size: int
) -> None:
    sessions = damaged(whole, tmp_path / "data", lambda data: data.__delitem__(slice(size, None)))
    with sessions.start() as session:
        list(session.conversation().ask(FakeEngine(["fine"]), "how are you?"))
        (note,) = session.take_notes()
    assert note.startswith(
        "The session file was damaged: 0 sessions were carried over, 0 of them with gaps; the original is kept as "
    )
    assert [entry.title for entry in sessions.list()] == ["how are you?"]


def test_55_a_page_overwritten_anywhere_costs_what_stood_on_it_and_nothing_else(whole: Path, tmp_path: Path) -> None:
    fills = [bytes(PAGE), random.Random(1).randbytes(PAGE), (b"not a page\n" * 400)[:PAGE]]
    for page in range(pages(whole)):

        def overwrite(data: bytearray, page: int = page) -> None:
            data[page * PAGE : (page + 1) * PAGE] = fills[page % 3]

        survey(whole, damaged(whole, tmp_path / str(page), overwrite))


def flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice([1, 5, 100])):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def smear(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) - 3000)
    data[at : at + 3000] = chance.randbytes(3000)


def shift(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at:at] = chance.randbytes(chance.randrange(1, 100))


def swap(data: bytearray, chance: random.Random) -> None:
    one, other = (slice(page * PAGE, (page + 1) * PAGE) for page in chance.sample(range(len(data) // PAGE), 2))
    data[one], data[other] = data[other], data[one]


def test_55_no_damage_makes_a_wrong_word_or_an_error(whole: Path, tmp_path: Path) -> None:
    chance = random.Random(55)
    before = talks(Sessions(whole))
    for number in range(24):
        harm = (flip, smear, shift, swap)[number % 4]
        sessions = damaged(whole, tmp_path / str(number), lambda data, harm=harm: harm(data, chance))  # type: ignore[misc]
        for entry in sessions.list():
            stored(sessions, entry.id)
        after = talks(sessions)
        assert sessions.database.notes or after == before
        for id_ in before.keys() & after.keys():
            assert all(old == new or LOST in new[1] for old, new in zip(before[id_], after[id_], strict=True))
        with sessions.start() as session:
            list(session.conversation().ask(FakeEngine(["fine"]), "how are you?"))
            assert session.saved, session.take_notes()


def test_55_a_lost_image_is_named_where_it_stood(whole: Path, tmp_path: Path) -> None:
    def spoil(data: bytearray) -> None:
        at = data.index(RED.data[-40:])
        data[at : at + 20] = bytes(20)

    sessions = damaged(whole, tmp_path / "data", spoil)
    survey(whole, sessions)
    texts = [sessions.load(entry.id).messages[0].text for entry in sessions.list()]
    assert sum(text.startswith(f"[image red.png {LOST}") for text in texts) == 3


def test_55_what_was_only_in_the_log_is_recovered_too(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "data")
    sessions = Sessions(tmp_path / "data")
    with closing(sqlite3.connect(sessions.database.file)) as reader:  # keeps the log from being folded in
        reader.execute("SELECT count(*) FROM sessions").fetchone()
        with sessions.start() as session:
            list(session.conversation().ask(FakeEngine(["in the log"]), "where are you?", [RED]))
        shutil.copytree(tmp_path / "data", tmp_path / "copy")
    data = bytearray((tmp_path / "copy" / "sessions.db").read_bytes())
    data[:PAGE] = bytes(PAGE)
    (tmp_path / "copy" / "sessions.db").write_bytes(data)
    (tmp_path / "copy" / "sessions.db-shm").unlink()
    copy = Sessions(tmp_path / "copy")
    assert [message.text for message in copy.load(session.id).messages] == ["where are you?", "in the log"]


def test_55_the_command_line_says_so_in_one_line(whole: Path, home: Path) -> None:
    from tests.cli.calling import pixtral

    sessions = damaged(whole, home / "pixtral" / "data", lambda data: data.__setitem__(slice(0, PAGE), bytes(PAGE)))
    result = pixtral("sessions")
    assert result.status == 0
    (line,) = result.stderr.splitlines()
    assert line.startswith("The session file was damaged: ")
    assert len(result.stdout.splitlines()) == 1 + len(sessions.list())
    assert pixtral("sessions").stderr == ""


def test_55_a_jsonl_with_a_torn_last_line_resumes(tmp_path: Path) -> None:
    messages = tuple(Conversation(messages=()).turns)
    conversation = Conversation("be brief")
    list(conversation.ask(FakeEngine(["a red square"]), "what is it?", [RED]))
    list(conversation.ask(FakeEngine(["yes, all of it"]), "sure?"))
    file = tmp_path / "talk.jsonl"
    transcript.write(Transcript(conversation.turns, "be brief"), file)
    lines = file.read_bytes()
    file.write_bytes(lines[:-12])
    read, notes = transcript.read(file)
    assert messages == ()
    assert spoken(read.messages) == everything(conversation)[:-1]
    assert read.system == "be brief"
    (note,) = notes
    assert note.startswith("Line 5 is cut off and left out")
    with Sessions(tmp_path / "data").add(read.messages, system=read.system) as session:
        again = session.conversation()
        assert again.unanswered is not None
        list(again.regenerate(FakeEngine(["yes"])))
        assert [message.text for message in again.turns] == ["what is it?", "a red square", "sure?", "yes"]


# 56. Two on one session


def test_56_two_processes_on_one_session_do_not_interleave(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "data")
    with sessions.start() as session:
        list(session.conversation().ask(FakeEngine(["A"]), "start"))

    def go_on(name: str) -> None:
        with Sessions(tmp_path / "data").resume(session.id) as mine:
            conversation = mine.conversation()
            (tmp_path / f"{name}.open").touch()
            while len(list(tmp_path.glob("*.open"))) < 2:
                time.sleep(0.001)
            for number in range(10):
                list(conversation.ask(FakeEngine([f"answer {name} {number}"]), f"question {name} {number}"))

    children = [forked(lambda name=name: go_on(name)) for name in ("one", "two")]  # type: ignore[misc]
    for child in children:
        os.waitpid(child, 0)
    talks = [[message.text for message in sessions.load(entry.id).messages] for entry in sessions.list()]
    expected = [
        ["start", "A", *(f"{kind} {name} {number}" for number in range(10) for kind in ("question", "answer"))]
        for name in ("one", "two")
    ]
    assert sorted(talks) == sorted(expected)
    assert sorted(entry.origin or "" for entry in sessions.list()) == ["", session.id]


# 57. A full disk, a home that cannot be written


def chat(sessions: Sessions, elsewhere: Path) -> list[str]:
    """Three turns, and the conversation saved elsewhere; returns the notes."""
    with sessions.start() as session:
        conversation = session.conversation()
        notes = []
        for number in range(3):
            list(conversation.ask(FakeEngine([f"answer {number}"]), f"question {number}", [RED]))
            notes += session.take_notes()
        assert len(conversation.turns) == 6
        transcript.write(Transcript(conversation.turns), elsewhere, Format.json)
    read, _ = transcript.read(elsewhere)
    assert read.messages == conversation.turns
    return notes


def test_57_on_a_full_disk_the_chat_goes_on_and_says_once_that_it_is_not_saved(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "data")
    with sessions.start() as first:
        list(first.conversation().ask(FakeEngine(["A"]), "before"))

    def visit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # no file may grow beyond this
        titles = [entry.title for entry in sessions.list()]
        (tmp_path / "told.json").write_text(json.dumps([titles, chat(sessions, tmp_path / "talk.json")]))

    os.waitpid(forked(visit), 0)
    titles, notes = json.loads((tmp_path / "told.json").read_text())
    assert titles == [entry.title for entry in sessions.list()] == ["before"]
    assert notes == [f"This conversation is not being saved. Cannot use {sessions.database.file}: disk I/O error"]


def test_57_when_there_is_room_again_all_of_it_is_saved(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "data")
    (tmp_path / "data").write_text("in the way")
    with sessions.start() as session:
        conversation = session.conversation()
        list(conversation.ask(FakeEngine(["A"]), "one", [RED]))
        (lost,) = session.take_notes()
        assert "not being saved" in lost
        (tmp_path / "data").unlink()
        list(conversation.ask(FakeEngine(["B"]), "two"))
        assert session.take_notes() == [f"Saved again, all of it, as session {session.id}"]
    assert sessions.load(session.id).messages == conversation.turns


@pytest.fixture
def plain_folder() -> Iterator[Path]:
    """A folder that any user can reach, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="pixtral-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_57_in_a_home_that_cannot_be_written_old_sessions_open_and_new_ones_go_on(plain_folder: Path) -> None:
    home, elsewhere = plain_folder / "home", plain_folder / "elsewhere"
    home.mkdir()
    elsewhere.mkdir(mode=0o777)
    elsewhere.chmod(0o777)
    with Sessions(home / "data").start() as old:
        list(old.conversation().ask(FakeEngine(["A"]), "before", [RED]))
    for path in (home / "data" / "sessions.db", home / "data", home / "data" / "locks", home):
        path.chmod(0o444 if path.is_file() else 0o555)

    def visit() -> None:
        with suppress(PermissionError):
            os.setuid(65534)  # root may write anywhere, nobody may not
        found = Sessions(home / "data")
        with found.resume() as session:
            conversation = session.conversation()
            list(conversation.ask(FakeEngine(["B"]), "now"))
            list(conversation.ask(FakeEngine(["C"]), "still"))
            notes = session.take_notes()
        new = chat(Sessions(home / "other"), elsewhere / "talk.json")
        texts = [message.text for message in conversation.turns]
        (elsewhere / "told.json").write_text(json.dumps([texts, notes, new]))

    os.waitpid(forked(visit), 0)
    texts, notes, new = json.loads((elsewhere / "told.json").read_text())
    assert texts == ["before", "A", "now", "B", "still", "C"]
    assert len(notes) == len(new) == 1
    assert notes[0].startswith("This conversation is not being saved. ")
    assert "Permission denied" in new[0]
    for path in (home, home / "data", home / "data" / "locks"):
        path.chmod(0o755)


# 58. Names for code blocks

NASTY = [
    "../../.bashrc",
    "..\\..\\evil.bat",
    "/etc/cron.d/job",
    "\\\\server\\share\\x",
    "C:\\Windows\\x.dll",
    "C:x.txt",
    "a/../../x",
    ".bashrc",
    "~/.profile",
    "css/.htaccess",
    "CON",
    "con.html",
    "nul",
    "NUL.tar.gz",
    "Aux .txt",
    "com1.py",
    "LPT¹.txt",
    "CONIN$",
    "page.html.",
    "page.html ",
    "a./b.txt",
    "x:stream",
    "a\x00b",
    "a\nb",
    "evil\u202etxt.exe",
    "\x1b]52;c;x\x07.sh",
    "",
    "/",
    "a//b",
    "x" * 300,
    "what?.html",
]


@pytest.mark.parametrize("name", [name for name in NASTY if name], ids=ascii)
def test_58_a_nasty_name_writes_nothing(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with pytest.raises(UsageError, match="Not saved as ") as error:
        write_block("text", folder, name)
    assert error.value.message.isprintable()
    assert len(error.value.message) <= 120
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", folder]


def test_58_a_link_does_not_lead_outside(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    (folder / "real").mkdir(parents=True)
    outside.mkdir()
    (folder / "out").symlink_to(outside)
    (folder / "in").symlink_to(folder / "real")
    (folder / "page.html").symlink_to(outside / "target.html")
    with pytest.raises(UsageError, match="a link that leads outside"):
        write_block("x", folder, "out/page.html")
    assert write_block("x", folder, "page.html").path == folder / "page-2.html"
    assert write_block("x", folder, "in/page.html").path.resolve() == folder / "real" / "page.html"
    assert list(outside.iterdir()) == []


def test_58_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    written = [write_block(f"version {number}", tmp_path, "page.html").path for number in range(3)]
    assert [path.name for path in written] == ["page.html", "page-2.html", "page-3.html"]
    assert [path.read_text() for path in written] == ["version 0", "version 1", "version 2"]
    with pytest.raises(PixtralError, match="Cannot write"):
        write_block("x", tmp_path, "page.html/inner.txt")
