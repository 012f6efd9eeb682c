"""Parts of requests that newer clients send: allowed tools, refusals, images in the results of calls, results without an id."""

import json
from typing import Any

import pytest

from pixtral_cli.chat.tools import NamedTool
from tests.fakes import FakeEngine
from tests.server.serving import Running, data_url, picture, serving

PNG = data_url().partition(",")[2]
FUNCTIONS = [{"name": name, "parameters": {"type": "object"}} for name in ("a", "b", "c")]
TOOLS = [{"type": "function", "function": one} for one in FUNCTIONS]


def post(running: Running, path: str, body: dict[str, Any]) -> None:
    with running.client as client:
        reply = client.post(path, json=body)
    assert reply.status_code == 200, reply.text


def calls(*ids: str) -> list[dict[str, Any]]:
    return [{"id": key, "type": "function", "function": {"name": key[0], "arguments": "{}"}} for key in ids]


@pytest.mark.parametrize("detail", ["auto", "low", "high", "original"])
def test_every_detail_of_an_image_is_taken(detail: str, running: Running, engine: FakeEngine) -> None:
    engine.answers = ["yes", "yes"]
    part = {"type": "image_url", "image_url": {"url": data_url(), "detail": detail}}
    post(running, "/v1/chat/completions", {"messages": [{"role": "user", "content": [part]}]})
    item = {"type": "input_image", "image_url": data_url(), "detail": detail}
    post(running, "/v1/responses", {"input": [{"role": "user", "content": [item]}]})
    assert [len(messages[0].images) for messages, _ in engine.seen] == [1, 1]


@pytest.mark.parametrize("mode", ["auto", "required"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_allowed_tools_are_all_that_the_answer_may_call(
    path: str, mode: str, running: Running, engine: FakeEngine
) -> None:
    engine.answers = ["yes"]
    if path == "/v1/responses":
        allowed = {"type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": n} for n in "ca"]}
        tools: list[dict[str, Any]] = [{"type": "function", **one} for one in FUNCTIONS]
        body: dict[str, Any] = {"input": "hi", "tools": tools, "tool_choice": allowed}
    else:
        named = [{"type": "function", "function": {"name": name}} for name in "ca"]
        allowed = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}
        body = {"messages": [{"role": "user", "content": "hi"}], "tools": TOOLS, "tool_choice": allowed}
    post(running, path, body)
    sampling = engine.seen[0][1]
    assert ([tool.name for tool in sampling.tools], sampling.tool_choice) == (["a", "c"], mode)


@pytest.mark.parametrize(
    ("path", "choice", "field"),
    [
        ("/v1/chat/completions",
         {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "x"}}]}},
         "tool_choice.allowed_tools.tools.0.function.name"),
        ("/v1/chat/completions", {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
         "tool_choice.allowed_tools.tools"),
        ("/v1/chat/completions", {"type": "allowed_tools"}, "tool_choice.allowed_tools"),
        ("/v1/responses", {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "x"}]},
         "tool_choice.tools.0.name"),
        ("/v1/responses", {"type": "allowed_tools", "mode": "some", "tools": [{"type": "function", "name": "a"}]},
         "tool_choice.mode"),
    ],
)  # fmt: skip
def test_a_wrong_choice_of_tools_is_refused_by_its_field(path: str, choice: Any, field: str, running: Running) -> None:
    body: dict[str, Any] = {"tools": TOOLS, "messages": [{"role": "user", "content": "hi"}]}
    if path == "/v1/responses":
        body = {"tools": [{"type": "function", **one} for one in FUNCTIONS], "input": "hi"}
    with running.client as client:
        reply = client.post(path, json=body | {"tool_choice": choice})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize(
    "answer",
    [{"content": [{"type": "refusal", "refusal": "I cannot."}]}, {"content": None, "refusal": "I cannot."},
     {"refusal": "I cannot."}, {"content": [], "refusal": "I cannot."}],
)  # fmt: skip
def test_a_refusal_is_what_the_assistant_said(answer: dict[str, Any], running: Running, engine: FakeEngine) -> None:
    engine.answers = ["yes"]
    asked = {"role": "user", "content": "hi"}
    post(running, "/v1/chat/completions", {"messages": [asked, {"role": "assistant", **answer}, asked]})
    assert engine.seen[0][0][1].text == "I cannot."


def two_results(path: str) -> dict[str, Any]:
    """A request of the path's API whose conversation ends with the results of two calls, each with an image."""
    if path == "/v1/responses":
        shown = [{"type": "input_text", "text": "r"}, {"type": "input_image", "image_url": data_url()}]
        made = [{"type": "function_call", "call_id": key, "name": key[0], "arguments": "{}"} for key in ("a1", "b1")]
        results = [{"type": "function_call_output", "call_id": key, "output": shown} for key in ("a1", "b1")]
        return {"input": [{"role": "user", "content": "q"}, *made, *results]}
    if path == "/v1/messages":
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
        made = [{"type": "tool_use", "id": key, "name": key[0], "input": {}} for key in ("a1", "b1")]
        results = [{"type": "tool_result", "tool_use_id": key, "content": [{"type": "text", "text": "r"}, image]}
                   for key in ("a1", "b1")]  # fmt: skip
        said = [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": made},
            {"role": "user", "content": results},
        ]
        return {"model": "fake", "max_tokens": 5, "messages": said}
    if path == "/api/chat":
        made = [{"function": {"name": name, "arguments": {}}} for name in "ab"]
        results = [{"role": "tool", "content": "r", "tool_name": name, "images": [PNG]} for name in "ab"]
        said = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": made}, *results]
        return {"model": "fake", "messages": said}
    shown = [{"type": "text", "text": "r"}, picture()]
    results = [{"role": "tool", "tool_call_id": key, "content": shown} for key in ("a1", "b1")]
    return {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": calls("a1", "b1")}, *results]
    }


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat"])
def test_images_of_results_are_shown_after_all_results(path: str, running: Running, engine: FakeEngine) -> None:
    engine.answers = ["yes"]
    post(running, path, two_results(path))
    messages = engine.seen[0][0]
    assert [(one.role, one.text.strip(), len(one.images)) for one in messages] == [
        ("user", "q", 0), ("assistant", "", 0), ("tool", "r", 0), ("tool", "r", 0), ("user", "", 2),
    ]  # fmt: skip


def test_images_of_results_come_before_the_question_that_follows(running: Running, engine: FakeEngine) -> None:
    engine.answers = ["yes"]
    body = two_results("/v1/chat/completions")
    body["messages"].append({"role": "user", "content": [{"type": "text", "text": "now?"}, picture()]})
    post(running, "/v1/chat/completions", body)
    last = engine.seen[0][0][-1]
    assert [part if isinstance(part, str) else "image" for part in last.parts] == ["image", "image", "now?", "image"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat"])
def test_a_broken_image_of_a_result_is_named(path: str, running: Running) -> None:
    body = json.loads(json.dumps(two_results(path)).replace(PNG, PNG[:40]))
    with running.client as client:
        reply = client.post(path, json=body)
    assert reply.status_code == 400
    fields = {"/v1/chat/completions": "messages.2.content.1.image_url", "/v1/responses": "input.3.output.1.image_url",
              "/v1/messages": "messages.2.content.0.content.1.source", "/api/chat": "messages.2.images.0"}  # fmt: skip
    assert fields[path] in reply.text


@pytest.mark.parametrize(
    ("results", "named"),
    [
        ([{"name": "b"}, {"name": "a"}], ["b1", "a1"]),
        ([{}, {}], ["a1", "b1"]),
        ([{"tool_call_id": "b1"}, {}], ["b1", "a1"]),
        ([{"name": "b", "tool_call_id": None}, {"name": None}], ["b1", "a1"]),
    ],
)
def test_a_result_without_an_id_is_of_the_first_call_that_waits(
    results: list[dict[str, Any]], named: list[str], running: Running, engine: FakeEngine
) -> None:
    engine.answers = ["yes"]
    said = [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": calls("a1", "b1")}]
    post(
        running,
        "/v1/chat/completions",
        {"messages": [*said, *[{"role": "tool", "content": "r", **one} for one in results]]},
    )
    assert [message.tool_call_id for message in engine.seen[0][0][2:]] == named


def test_a_result_for_which_no_call_waits_is_refused() -> None:
    with serving(FakeEngine([])) as running, running.client as client:
        for result in ({}, {"name": "a"}, {"name": "z"}):
            said = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
            body = {"messages": [*said, {"role": "tool", "content": "r", **result}]}
            assert client.post("/v1/chat/completions", json=body).status_code == 400


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("unheard_of", 1),
        ("num_ctx", 10**12),
        ("num_predict", 7.0),
        ("num_predict", -5),
        ("draft", {"a": []}),
        ("seed", 3.0),
    ],
)
def test_ollamas_unknown_options_change_nothing(field: str, value: Any, running: Running, engine: FakeEngine) -> None:
    engine.answers = ["yes", "yes"]
    said = [{"role": "user", "content": "q", "unheard_of": True}]
    post(running, "/api/chat", {"model": "fake", "messages": said, "options": {field: value}, "unheard_of": [1]})
    post(running, "/api/generate", {"model": "fake", "prompt": "q", "options": {field: value}, "shift": True})
    for _, sampling in engine.seen:
        assert sampling.max_tokens == (7 if value == 7.0 else None)
        assert not isinstance(sampling.tool_choice, NamedTool)


def test_the_fields_that_were_not_known_are_logged_once_and_not_without_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, running: Running, engine: FakeEngine
) -> None:
    monkeypatch.setattr("pixtral_cli.server.openai.requests._logged", set())
    engine.answers = ["yes"] * 602
    for number in range(600):
        options = {f"made_up_{number}": 1}
        post(running, "/api/generate", {"model": "fake", "prompt": "q", "options": options})
    named = [message for message in caplog.messages if "made_up" in message]
    assert len(named) == len(set(named)) == 500
