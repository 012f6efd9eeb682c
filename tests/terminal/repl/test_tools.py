"""Tools in a chat: each call is shown, asked about unless all are allowed, and the answer goes on the record."""

from pathlib import Path

import PIL.Image as PIL
import pytest

from pixtral_cli.chat.toolbox.engine import DECLINED
from pixtral_cli.chat.toolbox.functions import load_tools
from tests.chat.test_tool_engine import Scripted
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
    assert [message.text for message in room.engine.seen[2][0]] == ["what?", "Let me see. Done.", "and now?"]
    [saved] = room.sessions.list()
    assert [message.text for message in room.sessions.load(saved.id).snapshot.messages][1] == "Let me see. Done."
