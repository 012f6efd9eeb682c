"""Calls of tools in sessions: they come back as they were, leave as files and come in again, and older databases open."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.chat import tool_rounds
from pixtral_cli.chat.message import CallResult, Message, ToolRound, assistant, user
from pixtral_cli.chat.tools import ToolCall
from pixtral_cli.errors import UsageError
from pixtral_cli.sessions import database, tables, transcript
from pixtral_cli.sessions.database import MIGRATIONS, Database, SaveError
from pixtral_cli.sessions.library import Sessions
from pixtral_cli.sessions.transcript import Format, Transcript
from tests.chat.test_tool_rounds import LOOKED, ONE, TWO
from tests.images.colours import BLUE, GREEN, RED

SAID = (user("what?", [RED]), LOOKED, user("and?"), assistant("No."))


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    return Sessions(tmp_path / "data")


def saved(sessions: Sessions, said: tuple[Message, ...] = SAID) -> str:
    with sessions.add(said) as session:
        assert session.take_notes() == []
        return session.id


def plain(messages: tuple[Message, ...]) -> list[Any]:
    """Messages without the names of their images, which files change."""
    return [
        (
            [part if isinstance(part, str) else part.key for part in each.parts if part],
            each.role,
            each.tool_calls,
            each.tool_call_id,
            each.name,
        )
        for each in tool_rounds.for_engine(messages)
    ]


def test_calls_come_back_as_they_were(sessions: Sessions) -> None:
    name = saved(sessions)
    assert sessions.load(name).messages == SAID
    (entry,) = sessions.list()
    assert (entry.messages, entry.images) == (4, 3)


def test_calls_come_back_out_of_a_damaged_file(sessions: Sessions) -> None:
    name = saved(sessions)
    with sqlite3.connect(sessions.database.file) as connection:
        connection.execute("UPDATE sessions SET title = 'other'")
    assert sessions.load(sessions.list()[0].id).messages == SAID
    assert name
    assert "carried over" in sessions.database.notes[0]


def test_a_lost_picture_of_a_call_is_named_behind_the_answer(sessions: Sessions) -> None:
    saved(sessions)
    with sqlite3.connect(sessions.database.file) as connection:
        connection.execute("UPDATE images SET data = x'00' WHERE sha256 = ?", (BLUE.sha256,))
    answer = sessions.load(sessions.list()[0].id).messages[1]
    assert answer.text.startswith(LOOKED.text)
    assert f"[image {BLUE.name} was lost" in answer.text
    assert [each.text_end for each in answer.rounds] == [each.text_end for each in LOOKED.rounds]
    assert [image.key for image in answer.all_images] == [RED.key, GREEN.key]


def test_the_pictures_of_calls_go_with_their_session(sessions: Sessions) -> None:
    first, second = saved(sessions), saved(sessions, SAID[2:])
    assert sessions.remove([first]) == 3
    assert sessions.load(second).messages == SAID[2:]


def test_what_calls_gave_is_found(sessions: Sessions) -> None:
    result = CallResult(ToolCall("a", "look_up", '{"street": "Gänsemarkt"}'), "Closed on Sundays", (GREEN,))
    name = saved(sessions, (user("Open?"), assistant("No.", reasoning="Hm", rounds=(ToolRound((result,)),))))
    saved(sessions, SAID[2:])
    for words in ("sundays", "gänsemarkt no", "look_up", GREEN.name):
        assert [(hit.summary.id, hit.position) for hit in sessions.search(words)] == [(name, 1)], words
    assert sessions.search("text_end") == ()


def test_a_database_of_the_version_before_opens_and_takes_calls(tmp_path: Path) -> None:
    older = Sessions(tmp_path / "data")
    older.database = Database(tmp_path / "data", MIGRATIONS[:3])
    name = saved(older, SAID[2:])
    sessions = Sessions(tmp_path / "data")
    assert sessions.load(name).messages == SAID[2:]
    assert sessions.load(saved(sessions)).messages == SAID
    with pytest.raises(SaveError, match="newer pixtral"):
        older.load(name)


def test_every_version_has_its_migration() -> None:
    assert MIGRATIONS[-1] is tables.TOOL_ROUNDS
    assert len(database.MIGRATIONS) == 4


@pytest.mark.parametrize("form", [Format.json, Format.jsonl])
def test_what_is_exported_is_imported(tmp_path: Path, sessions: Sessions, form: Format) -> None:
    file = tmp_path / f"x.{form}"
    transcript.write(Transcript(SAID, thinking=True), file)
    read, notes = transcript.read(file)
    assert notes == []
    assert plain(read.messages) == plain(SAID)
    assert [message.text for message in read.messages] == [message.text for message in SAID]
    assert plain(sessions.load(saved(sessions, read.messages)).messages) == plain(SAID)


def test_json_has_the_shape_that_other_programs_know() -> None:
    lines = json.loads(transcript.render(Transcript(SAID), Format.json))["messages"]
    assert [line["role"] for line in lines] == [
        "user", "assistant", "tool", "tool", "assistant", "tool", "assistant", "user", "assistant",
    ]  # fmt: skip
    assert [call["function"]["name"] for call in lines[1]["tool_calls"]] == ["tool1", "tool2"]
    assert (lines[2]["tool_call_id"], lines[2]["name"]) == ("id1", "tool1")
    assert [part["type"] for part in lines[2]["content"]] == ["text", "image_url"]


@pytest.mark.parametrize("form", [Format.md, Format.html])
def test_people_see_calls_results_and_pictures_where_they_were_made(form: Format) -> None:
    text = transcript.render(Transcript(SAID), form)
    text = text[text.find("<body>") + 1 :]
    places = [text.index(word) for word in ("Let me see.", "tool1({})", "one", "And there.", "three", "Done.", "and?")]
    assert places == sorted(places)
    shown_again = form is Format.md  # RED is of the question, too, which HTML refers to
    assert text.count("data:image/png") == 3 + shown_again


def test_what_a_tool_gave_acts_nowhere() -> None:
    hostile = "<script>x</script> ![a](http://e.example/x.png) ```\n# x\x1b[2J"
    results = LOOKED.rounds[0].results
    changed = assistant("A", rounds=(ToolRound((CallResult(results[0].call, hostile),), 1, 0),))
    page = transcript.render(Transcript((user("?"), changed)), Format.html)
    assert "<script" not in page
    markdown = transcript.render(Transcript((user("?"), changed)), Format.md)
    assert "\x1b" not in markdown + page
    assert "\n````\n<script>x</script>" in markdown


def test_the_name_and_the_arguments_of_a_call_act_nowhere() -> None:
    call = ToolCall("id1", "<script>name()</script>", '{"a": "</code><script>given()</script>"}')
    called = assistant("A", rounds=(ToolRound((CallResult(call, "x"),), 1, 0),))
    page = transcript.render(Transcript((user("?"), called)), Format.html)
    assert "<script" not in page
    assert page.count("&lt;script&gt;name()") == 2  # of the call and of its result
    assert page.count("&lt;script&gt;given()") == 1


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([{"role": "tool", "content": "x", "tool_call_id": "a"}], "messages[0].tool_call_id: is of no call"),
        ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id: is missing"),
        ([{"role": "user", "content": "x", "tool_calls": [{}]}], "only an assistant calls tools"),
        ([{"role": "user", "content": "x", "tool_call_id": "a"}], "only a tool answers a call"),
        ([{"role": "assistant", "tool_calls": [{"id": "a"}]}], "messages[0].tool_calls[0].function: is missing"),
        ([{"role": "assistant", "tool_calls": [{"id": 1, "function": {}}]}], "messages[0].tool_calls[0].id: must be"),
    ],
)
def test_an_import_names_what_is_wrong(tmp_path: Path, messages: list[Any], said: str) -> None:
    (tmp_path / "x.json").write_text(json.dumps(messages))
    with pytest.raises(UsageError) as raised:
        transcript.read(tmp_path / "x.json")
    assert said in raised.value.message


def test_a_transcript_of_another_program_is_taken(tmp_path: Path) -> None:
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": {"a": 1}}}
        for call in (ONE, TWO)
    ]
    messages = [
        {"role": "user", "content": "what?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "id2", "content": "two"},
        {"role": "tool", "tool_call_id": "id1", "content": "one"},
        {"role": "assistant", "content": "Both."},
    ]
    (tmp_path / "x.json").write_text(json.dumps(messages))
    read, _ = transcript.read(tmp_path / "x.json")
    (answer,) = read.messages[1:]
    assert (answer.text, [result.text for result in answer.rounds[0].results]) == ("Both.", ["one", "two"])
    assert answer.rounds[0].results[0].call.arguments == '{"a": 1}'
