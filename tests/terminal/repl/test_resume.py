"""A chat that goes on: what shaped its answers holds again, and pictures that wait for the first question are there."""

from pathlib import Path

import pytest
from PIL import Image as PIL

from pixtral_cli import config
from pixtral_cli.sessions.library import Sessions
from tests.fakes import FakeEngine
from tests.server.serving import serving
from tests.terminal.repl.chatting import Chat, draw_pictures
from tests.terminal.repl.driver import Room


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw_pictures(tmp_path)
    return tmp_path


def test_settings_hold_on_in_a_new_process() -> None:
    with Chat(columns=120) as chat:
        chat.echo()
        chat.say("/set temperature 0.9", "temperature: 0.9")
        chat.say("/set stop END", "stop: 'END'")
        chat.say("/set schema colour, price:float", "schema:")
        chat.say("/set seed 5", "seed: 5")
        chat.say("hello", "hello")
        chat.end()
    with Chat(columns=120) as chat:
        chat.echo("-c", "--seed", "6")
        chat.wait_for('As before: temperature 0.9, stop \'END\', schema {"type": "object"')
        chat.say("/set", "stats")
        lines = [line.split() for line in chat.lines]
        assert ["temperature", "0.9"] in [line[:2] for line in lines]
        assert ["seed", "6"] in [line[:2] for line in lines]
        assert ["stop", "'END'"] in [line[:2] for line in lines]
        chat.say("/set temperature default", "temperature: 0.0")  # as if it had never been set
        chat.end()
    with Chat(columns=120) as chat:
        chat.echo("-c")
        assert "temperature" not in chat.text
        chat.end()


def test_a_server_is_asked_again_in_a_new_process_and_another_model_is_reported() -> None:
    far = FakeEngine(["One.", "Two."])
    with serving(far) as running:
        with Chat(columns=120) as chat:
            chat.start("--base-url", running.url, "-m", "fake")
            chat.say("hello", "One.")
            chat.end()
        with Chat(columns=120) as chat:
            chat.start("-c")
            chat.until(lambda: f"As before: server {running.url}" in chat.text, "the note")
            chat.say("and now?", "Two.")
            chat.end()
    with Chat(columns=120) as chat:
        chat.start("-c", "--engine", "local", "-m", "demo")
        note = f"Before, fake at {running.url} answered; now demo does"
        chat.until(lambda: note in chat.text, note)
        chat.end()


def test_pictures_staged_before_the_first_question_are_there_in_a_new_process() -> None:
    with Chat(columns=120) as chat:
        chat.echo("--image", "circle.png")
        chat.say("/image 'my square.png'", "#2 my square.png")
        chat.process.kill()
        chat.process.wait()
    with Chat(columns=120) as chat:
        chat.echo("-c")
        assert "Attached and not sent yet: #1 circle.png, #2 my square.png" in chat.text
        chat.say("what are these?", "what are these?")
        chat.end()
    sessions = Sessions(config.paths().data)
    (entry,) = sessions.list()
    (question, _) = sessions.load(entry.id).messages
    assert [image.name for image in question.images] == ["circle.png", "my square.png"]


@pytest.mark.parametrize("keys", [b"\x04", b"/images\r/bye\r"])
def test_pictures_of_the_command_line_that_nothing_was_asked_about_leave_no_session(keys: bytes) -> None:
    with Chat(columns=120) as chat:
        chat.echo("--image", "circle.png")
        chat.end(keys=keys)
    assert Sessions(config.paths().data).list() == ()
    with Chat(columns=120) as chat:  # what was attached in the chat is kept
        chat.echo("--image", "circle.png")
        chat.say("/image 'my square.png'", "#2 my square.png")
        chat.end()
    assert [entry.images for entry in Sessions(config.paths().data).list()] == [2]


def test_load_brings_back_settings_and_template_and_says_what_it_does_not(tmp_path: Path, home: Path) -> None:
    templates = home / "pixtral" / "templates"
    templates.mkdir(parents=True)
    (templates / "brief.toml").write_text('prompt = "In one word: $input"\n')
    room = Room(tmp_path, FakeEngine(["One.", "Two.", "Three."]))
    room.type("/template brief", "/set top_p 0.4", "what?")
    first = room.sessions.newest().id
    other = Room(tmp_path, FakeEngine(["Three."]))
    other.state.settings |= {"temperature": 1.5, "markdown": False}
    said = other.type(f"/load {first}", "and this?")
    assert "As before: top_p 0.4, template brief." in said
    assert other.asked() == ["In one word: and this?"]
    assert "temperature" not in other.state.settings  # another conversation's
    assert other.state.settings["markdown"] is False  # how answers are shown is no part of it
    (templates / "brief.toml").unlink()
    said = Room(tmp_path, FakeEngine()).type(f"/load {first}")
    assert "Questions go as they are typed." in said


def test_a_picture_alone_can_be_saved_and_dropped_again(tmp_path: Path) -> None:
    PIL.new("RGB", (8, 8), "red").save(tmp_path / "red.png")
    room = Room(tmp_path)
    assert "Saved as session" in room.type("/image red.png", "/save")
    (entry,) = room.sessions.list()
    assert entry.title == "red.png"
