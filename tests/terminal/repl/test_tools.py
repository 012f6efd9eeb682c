"""Tools in a chat: each call is shown, asked about unless all are allowed, and the answer goes on the record."""

from pathlib import Path

import PIL.Image as PIL
import pytest

from pixtral_cli.chat.tool_rounds import SHOWN
from pixtral_cli.chat.toolbox.engine import DECLINED
from pixtral_cli.chat.toolbox.functions import load_tools
from tests.chat.test_tool_engine import Scripted
from tests.terminal.repl.chatting import Chat
from tests.terminal.repl.driver import Room

CROP = ("crop", {"image": 1, "left": 0, "top": 0, "right": 50, "bottom": 100})


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.chdir(tmp_path)
    PIL.new("RGB", (64, 32), "red").save("red.png")
    room = Room(tmp_path, Scripted([CROP]))  # type: ignore[arg-type]
    room.state.tools = load_tools(["crop"])
    return room


@pytest.mark.parametrize(("reply", "allowed"), [("y", True), ("n", False), ("", False)])
def test_a_call_is_shown_and_asked_about(room: Room, reply: str, allowed: bool) -> None:
    said = room.type("red.png what?", reply)
    assert "Tool: crop(image=1, left=0, top=0, right=50, bottom=100)" in said
    assert "Run it?" in said
    assert room.answers == ["Let me see. Done."]
    last = room.engine.seen[1][0][-1]
    assert [image.size for image in last.images] == ([(32, 32)] if allowed else [])
    assert allowed or last.text == DECLINED


def test_allowed_calls_are_shown_and_not_asked_about(room: Room) -> None:
    room.state.yes_tools = True
    said = room.type("red.png what?", "and now?")
    assert "Tool: crop(" in said
    assert "1 picture" in said
    assert "Run it?" not in said
    told = "The part of picture 1 from 0,0 of 32×32 pixels is shown next."
    assert [message.text for message in room.engine.seen[2][0]] == [
        "what?", "Let me see. ", told, SHOWN, "Done.", "and now?",
    ]  # fmt: skip
    [saved] = room.sessions.list()
    assert [message.text for message in room.sessions.load(saved.id).snapshot.messages][1] == "Let me see. Done."


def test_a_follow_up_in_a_new_process_is_asked_as_in_the_old_one(room: Room, tmp_path: Path) -> None:
    room.state.yes_tools = True
    room.type("red.png what?", "and now?")
    other = Room(tmp_path, Scripted())  # type: ignore[arg-type]
    saved = other.sessions.list()[0].id
    other.type(f"/load {saved}", "/undo", "and now?")
    before, after = (each.engine.seen[-1][0] for each in (room, other))
    assert [(each.role, each.tool_calls, each.tool_call_id) for each in before] == [
        (each.role, each.tool_calls, each.tool_call_id) for each in after
    ]
    assert [each.text for each in before] == [each.text for each in after]
    assert [image.key for each in before for image in each.images] == [
        image.key for each in after for image in each.images
    ]
    assert sum(len(each.images) for each in after) == 2


def test_the_history_shows_calls_and_the_pictures_that_they_gave(room: Room) -> None:
    room.state.yes_tools = True
    said = room.type("red.png what?", "/show history", "/images")
    shown = said[said.index("> ") :]
    assert shown.index("Let me see.") < shown.index("Tool: crop(") < shown.index("is shown next") < shown.index("Done.")
    assert "[#2 red.png" in shown


def test_undo_regen_and_versions_take_a_turn_with_its_calls_as_one(room: Room) -> None:
    room.state.yes_tools = True
    said = room.type("red.png what?", "/regen", "/versions", "/undo")
    assert room.answers == ["Let me see. Done.", "Done."]
    assert "Taken back: what?" in said
    snapshot = room.sessions.load(room.sessions.list()[0].id).snapshot
    assert [len(node.message.rounds) for node in snapshot.nodes if node.message.role == "assistant"] == [1, 0]


def test_the_demo_is_said_not_to_know_tools() -> None:
    with Chat(columns=120) as chat:
        chat.echo("--tool", "crop", "-m", "demo")
        assert "The demo was not trained to call tools" in chat.text
        chat.end()
    with Chat(columns=120) as chat:
        chat.echo("-m", "demo")
        assert "not trained" not in chat.text
        chat.end()
