"""What clients send and what changes nothing here is taken; what they send wrongly gets a message that says how."""

from base64 import urlsafe_b64encode

import pytest

from tests.fakes import FakeEngine
from tests.server.serving import picture, png, serving


def test_fields_without_effect_are_taken_and_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("pixtral_cli.server.openai.requests._logged", set())
    fields = {"store": True, "metadata": {"a": "b"}, "service_tier": "auto", "user": "me", "reasoning_effort": "high",
              "verbosity": "low"}  # fmt: skip
    cached = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    with serving(FakeEngine(["one", "two"])) as running:
        assert running.ask([cached], **fields).status_code == 200
        assert running.ask([cached], **fields).status_code == 200
    assert sum("verbosity" in message for message in caplog.messages) == 1


def test_no_bound_of_the_answer_is_minus_one() -> None:
    engine = FakeEngine(["one", "two"])
    with serving(engine) as running:
        assert running.ask(max_tokens=-1).status_code == 200
        assert running.ask(max_tokens=-2).status_code == 400
    assert engine.seen[0][1].max_tokens is None


def test_url_safe_and_wrapped_base64_is_read() -> None:
    encoded = urlsafe_b64encode(png(40, 40, (251, 255, 190))).decode()
    wrapped = "\n".join(encoded[at : at + 76] for at in range(0, len(encoded), 76))
    with serving(FakeEngine(["yes"])) as running:
        assert running.ask([picture(f"data:image/png;base64,{wrapped}")]).status_code == 200


def test_bare_base64_gets_the_message_that_says_how() -> None:
    with serving(FakeEngine([])) as running:
        reply = running.ask([picture(urlsafe_b64encode(png(40, 40)).decode())])
    assert reply.status_code == 400
    assert "data:image/png;base64," in reply.json()["error"]["message"]


def test_an_unknown_path_lists_the_known_ones() -> None:
    with serving(FakeEngine([])) as running, running.client as client:
        reply = client.get("/v1/chat")
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "not_found"
    assert "/v1/chat/completions" in reply.json()["error"]["message"]


def test_what_would_change_the_answer_is_refused_by_name() -> None:
    with serving(FakeEngine([])) as running:
        reply = running.ask(web_search_options={})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "web_search_options"


# Limits and values that nothing else holds.


@pytest.mark.parametrize(
    ("field", "tokens"), [({"max_tokens": 5, "max_completion_tokens": 9}, 9), ({"max_tokens": 5}, 5)]
)
def test_openais_newer_name_of_max_tokens_wins(field: dict[str, int], tokens: int) -> None:
    engine = FakeEngine(["ok"])
    with serving(engine) as running:
        running.ask(**field)
    assert engine.seen[0][1].max_tokens == tokens


def test_more_images_than_the_bound_are_refused() -> None:
    with serving(FakeEngine([])) as running:
        assert running.ask([picture()] * 129).json()["error"]["code"] == "too_many_images"


def test_each_name_of_the_model_lists_the_others() -> None:
    with serving(FakeEngine([]), model="a", aliases=("b",)) as running, running.client as client:
        listed = client.get("/v1/models").json()["data"]
    assert {model["id"]: model["aliases"] for model in listed} == {"a": ["b"], "b": ["a"]}


def test_bytes_held_for_a_request_are_given_back() -> None:
    with serving(FakeEngine(["ok"] * 30), bodies_limit=1000) as running:
        assert [running.ask().status_code for _ in range(30)] == [200] * 30


def test_an_answer_resets_the_time_of_idling() -> None:
    with serving(FakeEngine(["ok"])) as running:
        queue = running.app.state.queue
        before = queue.idle_since
        running.ask()
        assert queue.idle_since > before
