"""Templates and schemas in the REPL: what is asked by them, what is said, what ends them."""

import json
from pathlib import Path

import pytest
from PIL import Image as PIL

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message
from tests.cli.calling import pixtral
from tests.fakes import FakeEngine
from tests.terminal.repl.chatting import Chat, saved
from tests.terminal.repl.driver import Room

FRENCH = (
    'prompt = "$input In $language, as $who."\nsystem = "Be $who."\ntemperature = 0.5\n[defaults]\nwho = "a poet"\n'
)


@pytest.fixture
def room(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    """A REPL in a folder with a picture, and three templates."""
    monkeypatch.chdir(tmp_path)
    PIL.new("RGB", (64, 32), "red").save("red.png")
    templates = home / "pixtral" / "templates"
    templates.mkdir(parents=True)
    (templates / "fr.toml").write_text(FRENCH)
    (templates / "describe.txt").write_text("Describe the image in #1 sentence.")
    (templates / "number.txt").write_text("Image #1 is not meant: $input")
    (templates / "typed.toml").write_text('schema = "shape, sides:int"\nmodel = "pixtral-12b"\n')
    return Room(tmp_path, FakeEngine([f"Answer {number}." for number in range(1, 9)]))


def test_questions_go_through_a_template_until_it_is_switched_off(room: Room) -> None:
    said = room.type("/template fr language=French", "red.png What is #1?", "/template off", "And now?")
    assert "Questions go through fr; /template off ends that." in said
    assert room.asked(0) == ["What is ", "[red.png]", "? In French, as a poet."]
    assert room.asked(1) == ["And now?"]
    messages, sampling = room.engine.seen[0]
    assert messages[0] == Message("system", ("Be a poet.",))
    assert sampling.temperature == 0.5


def test_the_places_of_a_template_are_changed_like_settings(room: Room) -> None:
    said = room.type(
        "/template fr 'language=High German' who='a judge'", "one", "/set language Dutch", "/set who a pirate", "two"
    )
    assert room.asked(0) == ["one In High German, as a judge."]
    assert room.asked(1) == ["two In Dutch, as a pirate."]
    assert room.engine.seen[1][0][0] == Message("system", ("Be a pirate.",))
    assert "language: Dutch" in said


def test_the_words_of_a_template_place_no_image(room: Room) -> None:
    room.type("red.png what?", "/template number", "is it?")
    assert room.asked() == ["Image #1 is not meant: is it?"]


def test_an_edited_question_does_not_go_through_the_template_again(room: Room) -> None:
    room.keys("/template number\r" + "one\r" + "/edit\r" + "!\r")
    assert room.asked(1) == ["Image #1 is not meant: one!"]


def test_a_template_without_a_place_for_a_question_is_a_question_in_the_line(room: Room) -> None:
    room.keys("red.png\r" + "/template describe\r" + "\r" + "Shorter.\r")
    assert room.asked(0) == ["[red.png]", "Describe the image in #1 sentence."]
    assert room.asked(1) == ["Shorter."]


def test_a_template_may_want_a_schema_and_say_what_model_it_is_meant_for(room: Room) -> None:
    said = room.type("/template typed", "one", "/set schema off", "two", "/set schema default", "three")
    first, second, third = (sampling.schema for _, sampling in room.engine.seen)
    assert first is not None
    assert list(first["properties"]) == ["shape", "sides"]
    assert second is None
    assert third is None
    assert "It is meant for pixtral-12b: /model pixtral-12b switches." in said


@pytest.mark.parametrize("form", ["name, price:float", "shape.json", '{"type": "object", "properties": {"name": {}}}'])
def test_a_schema_is_set_and_shown(room: Room, form: str) -> None:
    Path("shape.json").write_text(json.dumps({"type": "object", "properties": {"name": {"type": "string"}}}))
    said = room.type(f"/set schema {form}", "one", "/set")
    schema = room.engine.seen[0][1].schema
    assert schema is not None
    assert "name" in schema["properties"]
    assert '{"type": "object", "properties": {"name": {' in said
    assert said.count('{"type": "object", "properti') == 2


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("/template nosuch", "There is no template 'nosuch'. There is: describe, fr, number, typed"),
        ("/template fr", "The template fr needs $language. /template fr language=VALUE"),
        ("/template fr French", "A place is filled by KEY=VALUE, not 'French'"),
        ("/template fr language=x mood=y", "The template fr has no $mood."),
        ("/template fr 'language=x", "is not closed"),
        ("/set language French", "There is no setting language"),
        ("/set schema nosuch.json", "nosuch.json"),
        ("/set schema {", "The schema"),
    ],
)
def test_a_template_or_schema_that_makes_no_sense_says_what_would(room: Room, line: str, complaint: str) -> None:
    said = room.type(line, "", "one")
    assert complaint in said
    assert room.engine.seen[0][1] == Sampling()
    assert room.asked() == ["one"]


def test_templates_are_listed(room: Room) -> None:
    said = room.type("/template fr language=x", "/template")
    assert "*  fr        $input In $language, as $who." in said
    assert "   describe  Describe the image in #1 sentence." in said


def test_a_chat_begins_by_a_template(room: Room, home: Path) -> None:
    with Chat() as chat:
        chat.echo("-t", "fr", "-p", "language=French")
        chat.wait_for("demo · template fr")
        chat.say("what?", "what? In French, as a poet.")
        chat.end()
    summary = saved(home).summary
    assert summary.system == "Be a poet."
    with Chat() as chat:
        chat.echo("-t", "describe")
        chat.until(lambda: "> Describe the image in" in chat.text, "the question")
        chat.type(b"\r")
        chat.until(lambda: chat.text.endswith("\nDescribe the image in #1 sentence.\n\n>\n"), "the answer")
        chat.end()


def test_an_answer_that_is_not_what_the_schema_asks_for_is_reported_and_kept(room: Room) -> None:
    room.engine.answers[:0] = ['{"name": "a"}', "not JSON at all"]
    said = room.type("/set schema name", "one", "two", "/show history")
    assert said.count("The answer is not valid JSON") == 1
    assert "The answer does not" not in said
    assert room.asked(1) == ["two"]


def test_a_chat_begins_by_a_schema_which_a_flag_names_rather_than_the_template(room: Room) -> None:
    with Chat() as chat:
        chat.echo("-t", "typed", "-m", "demo", "--schema", "colour")
        chat.wait_for("demo · template typed · answers by a schema")
        chat.type(b"/set schema\r")
        chat.wait_for('schema: {"type": "object", "properties": {"colour"')
        chat.end()


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["-t", "fr"], "The template fr needs $language. Give it: -p language=VALUE"),
        (["-p", "a=b"], "--param fills a template, and none is named"),
        (["-t", "nosuch"], "There is no template 'nosuch'"),
        (["--schema", "nosuch.json"], "nosuch.json"),
        (["--schema", ""], "The schema is empty"),
    ],
)
def test_a_template_that_cannot_be_used_ends_the_chat_before_it_begins(
    room: Room, flags: list[str], complaint: str
) -> None:
    done = pixtral("chat", *flags)
    assert done.status == 2
    assert complaint in done.stderr
