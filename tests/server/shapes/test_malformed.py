"""Whatever a body holds, it gets an answer or a 4xx in the words of its API, and the server goes on."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from pixtral_cli.chat.engine import Chunk, Cost, Sampling, Timings, Usage
from tests.fakes import Agreeing
from tests.server.serving import Running, data_url, serving

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PNG = data_url().partition(",")[2]

# Of each path, a request with as many of its fields as go together.
WHOLE: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "fake",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s"}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url(), "detail": "low"}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}],
             "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "name": "f", "content": "r"},
            {"role": "user", "content": "q"},
        ],
        "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}, "stop": ["x"], "n": 1,
        "temperature": 0.5, "top_p": 0.5, "max_tokens": 5, "max_completion_tokens": 5, "seed": 1, "top_k": 3,
        "min_p": 0.1, "repetition_penalty": 1.1, "frequency_penalty": 0.1, "presence_penalty": 0.1,
        "logit_bias": {"5": 1}, "logprobs": True, "top_logprobs": 2, "stream": False,
        "stream_options": {"include_usage": True}, "metadata": {"a": "b"}, "user": "u", "parallel_tool_calls": True,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
    },
    "/v1/completions": {
        "model": "fake", "prompt": ["a", "b"], "max_tokens": 4, "stop": "x", "temperature": 0.5, "top_p": 0.5, "seed": 1,
        "logit_bias": {"5": 1}, "stream": False, "stream_options": {"include_usage": True}, "top_k": 3, "min_p": 0.1,
        "frequency_penalty": 0.1, "user": "u", "echo": False, "n": 1,
    },
    "/v1/responses": {
        "model": "fake", "instructions": "s",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "q"},
                                         {"type": "input_image", "image_url": data_url(), "detail": "auto"}]},
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "t"}]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "r"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": True}], "metadata": {"a": "b"},
        "tool_choice": {"type": "function", "name": "f"}, "max_output_tokens": 5, "temperature": 0.5, "top_p": 0.5,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}, "store": False, "stream": False,
        "reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"],
    },
    "/v1/messages": {
        "model": "fake", "max_tokens": 5, "system": [{"type": "text", "text": "s"}],
        "messages": [
            {"role": "user", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": ""},
                                              {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "r"}]}]},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}], "tool_choice": {"type": "tool", "name": "f"},
        "stop_sequences": ["x"], "temperature": 0.5, "top_p": 0.5, "top_k": 3, "stream": False, "metadata": {"user_id": "u"},
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}, "thinking": {"type": "disabled"},
    },
    "/api/chat": {
        "model": "fake", "stream": False, "format": SCHEMA, "keep_alive": "5m", "think": False, "tools": [TOOL],
        "messages": [
            {"role": "user", "content": "q", "images": [PNG]},
            {"role": "assistant", "content": "", "thinking": "t",
             "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
            {"role": "tool", "tool_name": "f", "content": "r"},
        ],
        "options": {"temperature": 0.5, "top_p": 0.5, "top_k": 3, "num_predict": 5, "seed": 1, "stop": ["x"],
                    "min_p": 0.1, "repeat_penalty": 1.1, "num_ctx": 4096, "mirostat_tau": 5.0},
    },
    "/api/generate": {
        "model": "fake", "prompt": "q", "system": "s", "images": [PNG], "stream": False, "format": "json", "context": [],
        "options": {"num_predict": 5, "stop": "x"}, "keep_alive": 0, "raw": False, "suffix": "",
    },
    "/api/show": {"model": "fake", "verbose": False},
}  # fmt: skip
WHOLE["/v1/messages/count_tokens"] = {
    name: value
    for name, value in WHOLE["/v1/messages"].items()
    if name in ("model", "messages", "system", "tools", "tool_choice", "output_config", "thinking")
}
WHOLE["/v1/measure"] = WHOLE["/v1/chat/completions"]

NESTED_LIST, NESTED_OBJECT = "[" * 40 + "]" * 40, '{"a":' * 40 + "1" + "}" * 40
# JSON texts that stand in the place of any value.
VALUES = [
    "null", "true", "0", "-1", "1.5", "1e999", "-1e999", "1" + "0" * 400, "9" * 5000, "18446744073709551616", "1e-400",
    "NaN", "Infinity", '""', '"x"', r'"\u0000"', r'"\ud800"', r'"\udc00\ud800"', '"é\U0001f600"', "[]", "{}", "[null]",
    "[[]]", "[{}]", '{"": null}', '{"type": null}', '{"type": []}', '{"type": {}}', '{"type": "nothing"}',
    '{"role": 1}', '{"a": 1, "a": 2}', NESTED_LIST, NESTED_OBJECT, '"' + "x" * 7_000 + '"', "undefined", "'x'", "",
]  # fmt: skip


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(Agreeing()) as running:
        yield running


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every value within a value, its own first; nothing inside schemas and images."""
    yield path
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, one in below:
        yield from places(one, (*path, step))


def replaced(whole: Any, path: tuple[str | int, ...], text: str) -> bytes:
    """The JSON of a request with the value at a path replaced by a text that may be no JSON."""
    mark = "\x00here\x00"
    if not path:
        return text.encode("utf-8", "surrogatepass")
    copy = json.loads(json.dumps(whole))
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = mark
    return json.dumps(copy).replace(json.dumps(mark), text).encode("utf-8", "surrogatepass")


def check_reply(path: str, body: bytes, reply: httpx2.Response) -> None:
    """The reply is an answer, or a 4xx in the words of the path's API."""
    shown = body[:400]
    assert reply.status_code == 200 or 400 <= reply.status_code < 500, (path, shown, reply.status_code, reply.text)
    if reply.status_code == 200:
        return
    error = reply.json()["error"]
    assert "Traceback" not in reply.text and len(reply.text) < 2000, (path, shown)
    if path.startswith("/api/"):
        assert isinstance(error, str) and error, (path, shown)
    elif path.startswith("/v1/messages"):
        assert reply.json()["type"] == "error" and error["type"] and error["message"], (path, shown)
    else:
        assert error["message"] and error["type"] == "invalid_request_error", (path, shown)


def post(client: httpx2.Client, path: str, body: bytes, **headers: str) -> httpx2.Response:
    named = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return client.post(path, content=body, headers=named)


@pytest.mark.parametrize("path", WHOLE)
def test_the_whole_request_is_answered(path: str, running: Running) -> None:
    with running.client as client:
        reply = client.post(path, json=WHOLE[path])
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("path", WHOLE)
def test_any_value_in_any_place_is_answered_or_refused(path: str, running: Running) -> None:
    with running.client as client:
        for place in places(WHOLE[path]):
            for text in VALUES:
                body = replaced(WHOLE[path], place, text)
                check_reply(path, body, post(client, path, body))
        assert client.post(path, json=WHOLE[path]).status_code == 200


TEXT = '{"model": "fake"}'
BODIES = [
    b"", b" ", b"null", b"[]", b"1", b'"x"', b"{", b"}", b"{]", b"\xff\xfe", b"\x00", b"{}{}", b"{} x", b"NaN", b"1e999",
    TEXT.encode("utf-16"), TEXT.encode("utf-32"), b"\xef\xbb\xbf" + b"[]", '{"model": "é"}'.encode("latin-1"),
    b"[" * 100_000, b'{"a":' * 100_000, b"[" * 50_000 + b"]" * 50_000, b"9" * 100_000, b'{"model": "' + b"x" * 100_000,
    b'{"\\ud800": 1}', b"{" + b'"a": 1,' * 50_000 + b'"b": 2}', b"<xml/>", b"model=fake", b'{"model": "fake", }',
]  # fmt: skip


@pytest.mark.parametrize("path", WHOLE)
def test_bodies_that_are_no_request_are_refused(path: str, running: Running) -> None:
    with running.client as client:
        for body in BODIES:
            reply = post(client, path, body)
            check_reply(path, body, reply)
            assert reply.status_code == 400, (path, body[:50], reply.text)
        assert client.post(path, json=WHOLE[path]).status_code == 200


@pytest.mark.parametrize("path", WHOLE)
@pytest.mark.parametrize("named", [{}, {"name": "fake"}, {"messages": []}, {"messages": [{}]}, {"input": []}])
def test_requests_that_lack_what_they_need_are_answered_or_refused(
    path: str, named: dict[str, Any], running: Running
) -> None:
    with running.client as client:
        body = json.dumps(named).encode()
        check_reply(path, body, post(client, path, body))


LARGE = [5, 1000, 32_000, 10**8, 2**31 - 1, 2**53, 2**63 - 1]
LIMITED = {
    "/v1/chat/completions": lambda size: {"messages": [{"role": "user", "content": "hi"}], "max_tokens": size},
    "/v1/completions": lambda size: {"prompt": "hi", "max_tokens": size},
    "/v1/responses": lambda size: {"input": "hi", "max_output_tokens": size},
    "/v1/messages": lambda size: {
        "model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": size},
    "/api/chat": lambda size: {
        "model": "m", "messages": [{"role": "user", "content": "hi"}], "options": {"num_predict": size}},
    "/api/generate": lambda size: {"model": "m", "prompt": "hi", "options": {"num_predict": size}},
}  # fmt: skip


@pytest.mark.parametrize("path", LIMITED)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_longer_than_the_window_may_take_what_is_left(path: str, stream: bool) -> None:
    engine = Windowed(window=900)
    with serving(engine, model="m") as running, running.client as client:
        for size in LARGE:
            reply = client.post(path, json={**LIMITED[path](size), "stream": stream})
            assert reply.status_code == 200, reply.text
    assert engine.limits == [5] + [None] * (len(LARGE) - 1)


@pytest.mark.parametrize("path", LIMITED)
def test_a_prompt_longer_than_the_window_is_refused_and_not_its_answer_blamed(path: str) -> None:
    with serving(Windowed(window=3), model="m") as running, running.client as client:
        reply = client.post(path, json=LIMITED[path](10))
    assert reply.status_code == 400
    assert "for the answer" not in reply.text
    assert "context window is 3" in reply.text


class Windowed(Agreeing):
    """Refuses answers for which its context window has no room, as the local engine does."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.limits: list[int | None] = []

    def stream(self, messages: object, sampling: Sampling) -> Iterator[Chunk]:
        Cost(4, self.window).check_fits(sampling.max_tokens)
        self.limits.append(sampling.max_tokens)
        yield Chunk("yes", "stop", Usage(1, 1), Timings())
