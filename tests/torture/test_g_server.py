"""Torture G at the server, on the demo model: calls of tools that end too early, hold halves of characters, or are too many."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.models.names import demo_folder
from tests.server.serving import Running, serving

LOOK = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]}}}  # fmt: skip
ASKED = [{"role": "user", "content": "Look around."}]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(LocalEngine(demo_folder(), device="cpu"), model="demo") as server:
        yield server


def post(running: Running, **fields: Any) -> tuple[int, Any]:
    with running.client as client:
        reply = client.post("/v1/chat/completions", json={"messages": ASKED, "max_tokens": 1, **fields})
    assert "Traceback" not in reply.text
    return reply.status_code, reply.json()


@pytest.mark.parametrize("tokens", [1, 2, 3, 5])
@pytest.mark.parametrize("stream", [False, True])
def test_80_a_call_that_is_cut_off_anywhere_says_so(running: Running, tokens: int, stream: bool) -> None:
    body = {"messages": ASKED, "tools": [LOOK], "tool_choice": "required", "max_tokens": tokens, "stream": stream}
    with running.client as client:
        reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200
    if not stream:
        assert reply.json()["choices"][0]["finish_reason"] == "length"
        return
    events = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
    assert events.pop() == "[DONE]"
    assert [reason for event in events for choice in json.loads(event)["choices"] if (reason := choice["finish_reason"])] == ["length"]  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    ['{"at": "\\ud800"}', '{"at": "\\udc00\\ud800"}', '{"\\ud83d": 1}', '{"at": ["\\udfff", {"b": "\\ud800x"}]}', '{"at": "\\ud83d\\ude00"}'],
)  # fmt: skip
def test_80_halves_of_characters_in_arguments_are_refused_by_name_or_answered(running: Running, arguments: str) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "look", "arguments": arguments}}
    said = [*ASKED, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "a", "content": "x"}]
    status, body = post(running, messages=said, tools=[LOOK])
    whole = "\\ude00" in arguments
    assert status in ((200,) if whole else (200, 400)), body
    if status == 400:
        assert body["error"]["param"].startswith("messages.1.tool_calls.0.function.arguments")


def test_80_a_thousand_tools_are_refused_by_name(running: Running) -> None:
    many = [{"type": "function", "function": {"name": f"look{number}"}} for number in range(1000)]
    status, body = post(running, tools=many)
    assert (status, body["error"]["param"]) == (400, "tools")
