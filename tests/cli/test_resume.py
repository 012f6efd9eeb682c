"""A conversation that goes on is answered as before: sampling, engine and server, staged pictures; what is not restored is said."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pixtral_cli import config
from pixtral_cli.command_line import run
from pixtral_cli.sessions.library import Sessions
from tests.fakes import FakeEngine
from tests.images.colours import GREEN, RED
from tests.server.serving import Running, serving

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def far() -> FakeEngine:
    return FakeEngine([f"Answer {number}." for number in range(9)])


@pytest.fixture
def running(far: FakeEngine) -> Iterator[Running]:
    with serving(far) as running:
        yield running


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Call:
    def ask(*words: str) -> tuple[int, str, str]:
        status = run(["ask", "--no-stdin", *words])
        return status, *capsys.readouterr()

    return ask


def test_sampling_engine_and_server_hold_on(ask: Call, running: Running, far: FakeEngine) -> None:
    ask("Hello", "--base-url", running.url, "--temperature", "0.9", "--seed", "7", "--stop", "END")
    status, out, err = ask("And now?", "-c")
    assert (status, out) == (0, "Answer 1.\n"), err
    sampling = far.seen[-1][1]
    assert (sampling.temperature, sampling.seed, sampling.stop) == (0.9, 7, ("END",))
    assert f"As before: temperature 0.9, seed 7, stop 'END', server {running.url}" in err


def test_flags_stand_above_what_was_kept(
    ask: Call, running: Running, far: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("Hello", "--base-url", running.url, "--temperature", "0.9", "--top-p", "0.5")
    monkeypatch.setenv("PIXTRAL_TEMPERATURE", "0.1")  # what is set for everything is beneath
    ask("Again?", "-c")
    assert far.seen[-1][1].temperature == 0.9
    ask("Again?", "-c", "--temperature", "0.3")
    assert (far.seen[-1][1].temperature, far.seen[-1][1].top_p) == (0.3, 0.5)
    ask("Again?", "-c")
    assert far.seen[-1][1].temperature == 0.3


def test_who_answered_before_is_reported_when_another_answers(ask: Call, running: Running) -> None:
    ask("Hello", "--base-url", running.url)
    status, out, err = ask("What is this?", "-c", "--engine", "local", "-m", "demo")
    assert (status, len(out) > 0) == (0, True)
    assert f"Before, fake at {running.url} answered; now demo does" in err
    _, _, err = ask("And this?", "-c")
    assert "Before" not in err


def test_the_model_that_answered_goes_on_whatever_is_configured(
    ask: Call, running: Running, far: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("Hello", "-m", "demo")
    monkeypatch.setenv("PIXTRAL_BASE_URL", running.url)
    status, _, err = ask("And now?", "-c")
    assert status == 0, err
    assert far.seen == []
    with_flag, _, _ = ask("And now?", "-c", "--base-url", running.url)
    assert (with_flag, len(far.seen)) == (0, 1)


def test_a_schema_of_one_answer_does_not_bind_the_next_and_that_is_reported(
    ask: Call, running: Running, far: FakeEngine
) -> None:
    far.answers = ['{"colour": "red"}', "Because."]
    ask("Which?", "--base-url", running.url, "--schema", "colour")
    status, out, err = ask("Why?", "-c")
    assert (status, out) == (0, "Because.\n")
    assert "The schema of the answer before is not used: --schema" in err


def test_pictures_staged_in_a_chat_go_with_the_question_that_follows(
    ask: Call, running: Running, far: FakeEngine
) -> None:
    with Sessions(config.paths().data).start(model="fake") as session:
        conversation = session.conversation()
        conversation.stage(RED)
        conversation.stage(GREEN)
    status, _, err = ask("What is this?", "-c", "--base-url", running.url)
    assert status == 0, err
    assert [image.key for image in far.seen[-1][0][-1].images] == [RED.key, GREEN.key]
    assert f"Sent with it, attached before: {RED.name}, {GREEN.name}" in err
    ask("And now?", "-c")
    assert [len(message.images) for message in far.seen[-1][0]] == [2, 0, 0]


def test_pictures_that_are_all_taken_back_leave_no_conversation() -> None:
    sessions = Sessions(config.paths().data)
    with sessions.start() as session:
        conversation = session.conversation()
        conversation.stage(RED)
        (entry,) = sessions.list()
        assert (entry.title, entry.messages, entry.images) == (RED.name, 0, 1)
        conversation.drop(1)
        assert sessions.list() == ()
        conversation.stage(GREEN)
    assert [entry.title for entry in sessions.list()] == [GREEN.name]


def test_settings_that_make_no_sense_are_left_out(ask: Call, running: Running, far: FakeEngine) -> None:
    with Sessions(config.paths().data).start(model="fake") as session:
        session.save_settings({
            "model": "fake", "engine": "api", "server": running.url,
            "sampling": {"temperature": 99, "top_p": "much", "colour": "red", "seed": 5}, "template_values": 7,
        })  # fmt: skip
        list(session.conversation().ask(FakeEngine(["well"]), "hello"))
    status, _, err = ask("And now?", "-c")
    assert status == 0, err
    assert far.seen[-1][1].seed == 5
    assert far.seen[-1][1].temperature < 10


def test_a_dry_run_keeps_nothing(ask: Call, running: Running, home: Path) -> None:
    ask("Hello", "--base-url", running.url, "--seed", "4")
    ask("And now?", "-c", "--seed", "5", "--dry-run")
    sessions = Sessions(config.paths().data)
    assert sessions.settings(sessions.newest().id)["sampling"]["seed"] == 4
