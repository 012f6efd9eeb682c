"""Files by name in the REPL: found by a part of their path, whole folders, patterns, texts, pictures sent again, URLs."""

import re
import threading
from pathlib import Path

import pytest
from PIL import Image as PIL
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from pixtral_cli.terminal.repl import attachments, file_search, setup
from tests.fakes import FakeEngine
from tests.terminal.repl.chatting import Chat
from tests.terminal.repl.driver import Room
from tests.terminal.repl.test_completion import completed

SLOW = pytest.mark.slow
WIDTHS = pytest.mark.parametrize("columns", [80, 20, pytest.param(100, marks=SLOW), pytest.param(40, marks=SLOW)])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("pics/bars.png", "pics/old/scan.png", "photos/cat.png", "many/.hidden.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        PIL.new("RGB", (32, 16), (len(name), 200, 0)).save(tmp_path / name)
    for number in range(1, 13):
        PIL.new("RGB", (32, 16), (number, 0, 0)).save(tmp_path / f"many/p{number}.png")
    (tmp_path / "many" / "readme.txt").write_text("words")
    (tmp_path / "notes.md").write_text("# Notes\n\nsee #1 and ```code```\n")
    (tmp_path / "blob.bin").write_bytes(b"\0\1\2")
    return tmp_path


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path, FakeEngine([f"Answer {number}." for number in range(9)]))


# Completion


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("@bars", ["@pics/bars.png"]), ("@scan", ["@pics/old/scan.png"]), ("@pics/sc", ["@pics/old/scan.png"]),
        ("@pics/", ["@pics/bars.png", "@pics/old/"]), ("@not", ["@notes.md"]), ("@ctpng", ["@photos/cat.png"]),
        ("@phcat", ["@photos/cat.png"]), ("@zzz", []), ("@hidden", []),
    ],
)  # fmt: skip
def test_a_part_of_a_path_finds_the_file(typed: str, offered: list[str]) -> None:
    found = completed(f"what is {typed}")
    assert [each.removeprefix("what is ") for each in found][: len(offered)] == offered
    assert bool(found) == bool(offered)


def test_a_huge_tree_is_searched_in_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(300):
        (tmp_path / "tree" / str(number)).mkdir(parents=True)
        (tmp_path / "tree" / str(number) / "leaf.png").touch()
    monkeypatch.setattr(file_search, "MAX_ENTRIES", 100)
    assert len(file_search.search(tmp_path, "leaf")) <= file_search.MAX_RESULTS


@WIDTHS
def test_tab_descends_into_folders_and_several_files_are_picked(columns: int) -> None:
    with Chat(columns) as chat:
        chat.echo()
        chat.type(b"@pi\t")
        chat.until(lambda: "> @pics/" in chat.text, "the folder")
        chat.type(b"\t")
        if columns == 80:  # at other widths Tab is pressed again before it is known what the folder has
            chat.until(lambda: "bars.png" in chat.text, "what is in it")
        chat.type(b"\t")
        chat.until(lambda: "> @pics/bars.png" in "".join(chat.text.split("\n")), "the picture")
        chat.type(b" @cat\t")
        chat.until(lambda: "@photos/cat.png" in re.sub(r"\n *", "", chat.text), "the second picture")
        chat.type(b" both?\r")
        chat.until(lambda: "both? \n" in chat.text + "\n" or chat.text.count("both?") > 1, "the answer")
        joined = "".join(chat.text.split())
        assert "#1bars.png" in joined
        assert "#2cat.png" in joined
        chat.end()


# Folders and patterns


def test_a_small_folder_and_a_pattern_attach_all_their_pictures(room: Room) -> None:
    room.type("@pics what is this?", "@many/p1*.png and these?")
    assert room.asked(0) == ["[bars.png]", "what is this?"]
    assert room.asked(1)[:4] == ["[p1.png]", "[p10.png]", "[p11.png]", "[p12.png]"]


@pytest.mark.parametrize(("answer", "sent"), [("y", 12), ("n", 0), ("", 0)])
def test_more_than_eight_pictures_of_a_folder_are_asked_about(room: Room, answer: str, sent: int) -> None:
    said = room.keys(f"@many what are these?\r{answer}\r")
    assert "Attach all 12 pictures of many? y or n" in said
    names = [f"[p{number}.png]" for number in range(1, 13)]
    assert room.engine.seen == [] if not sent else room.asked()[:12] == names
    assert ("Nothing was attached" in said) == (not sent)


def test_image_takes_folders_and_names_what_is_none(room: Room) -> None:
    (room.folder / "empty").mkdir()
    said = room.type("/image pics photos", "/image empty", "/image nothing/*.png")
    assert len(room.state.conversation.staged) == 2
    assert "empty is a folder without pictures" in said
    assert "No file matches nothing/*.png" in said


@WIDTHS
def test_asking_about_a_folder_fits_every_width(columns: int) -> None:
    with Chat(columns) as chat:
        chat.echo()
        chat.type(b"@many what?\r")
        chat.until(lambda: "y or n" in " ".join(chat.text.split()), "the question")
        chat.type(b"n\r")
        chat.until(lambda: "Nothing was attached" in " ".join(chat.text.split()), "the note")
        assert all(len(line) <= columns for line in chat.lines)
        chat.end(keys=b"\x05\x15\x04")


# Texts


def test_a_text_file_goes_with_the_question_as_a_block_with_its_name(room: Room) -> None:
    said = room.type("What is in @notes.md ?")
    assert room.asked() == ["What is in notes.md ?\n\n````notes.md\n# Notes\n\nsee #1 and ```code```\n````"]
    assert re.search(r"notes\.md: 3 lines, \d+ tokens", said)


def test_a_text_and_a_picture_go_together_and_a_text_alone_is_no_question(room: Room) -> None:
    room.type("@pics/bars.png @notes.md do they agree?")
    assert room.asked()[0] == "[bars.png]"
    assert room.asked()[-1].endswith("````")
    assert "goes with a question" in room.type("@notes.md")
    assert len(room.engine.seen) == 1


def test_a_text_that_is_too_large_or_no_text_is_refused(room: Room, folder: Path) -> None:
    (folder / "huge.txt").write_text("x" * (5 * 2**20))
    assert "more than 4 MiB" in room.type("@huge.txt what?")
    room.type("@blob.bin what?")
    assert room.engine.seen == []


def test_a_text_file_without_the_mark_is_words(room: Room) -> None:
    room.type("What would notes.md say?")
    assert room.asked() == ["What would notes.md say?"]


# The toolbar


def test_the_toolbar_counts_folders_names_texts_and_prices_what_is_sent_again(room: Room) -> None:
    def says(text: str) -> str:
        return setup.toolbar(room.state, text)

    assert "Enter attaches 12 pictures of many" in says("@many what?")
    assert "Enter attaches notes.md" in says("@notes.md what?")
    assert "blob.bin is no picture" in says("@blob.bin what?")
    assert attachments.attach_problem("many/*.gif") == "holds no picture"
    room.type("@pics/bars.png what is this?")
    assert "#1 again, 10 tokens" in says("and #1 once more?")
    assert "again" not in says("and #7?")


@WIDTHS
def test_the_price_of_a_picture_sent_again_stands_below_the_line(columns: int) -> None:
    with Chat(columns) as chat:
        chat.echo()
        chat.type(b"pics/bars.png what?\r")
        chat.until(lambda: "what? \n" in chat.text or "what?\n\n>" in chat.text, "the answer")
        chat.type(b"#1 ")
        chat.until(lambda: "again" in " ".join(chat.lines[-3:]) or columns < 40, "the price")
        chat.end(keys=b"\x05\x15\x04")


# URLs


@WIDTHS
def test_a_url_that_is_slow_to_come_shows_a_sign_of_life(httpserver: HTTPServer, folder: Path, columns: int) -> None:
    held = threading.Event()

    def serve(request: Request) -> Response:
        held.wait(60)
        return Response((folder / "pics/bars.png").read_bytes(), content_type="image/png")

    httpserver.expect_request("/slow.png").respond_with_handler(serve)
    with Chat(columns) as chat:
        chat.echo()
        chat.type(f"@{httpserver.url_for('/slow.png')} what?\r".encode())
        chat.until(lambda: "fetching" in " ".join(chat.lines), "the sign of life")
        held.set()
        chat.until(
            lambda: "slow.png" in " ".join(chat.lines[-12:]) and "fetching" not in " ".join(chat.lines), "the picture"
        )
        chat.end()
