"""The remote engine against our own server, La Plateforme's shapes, and servers that misbehave."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from pixtral_cli import images
from pixtral_cli.api.attachments import CONTENT_TYPE, Attachments
from pixtral_cli.chat.engine import Chunk, Sampling, Timings, Usage
from pixtral_cli.chat.message import Message, assistant, system, user
from pixtral_cli.chat.tools import Tool
from pixtral_cli.engines.remote.client import ApiClient, CancellableRequest
from pixtral_cli.engines.remote.engine import RemoteEngine
from pixtral_cli.engines.remote.errors import Endpoint, parse_endpoint
from pixtral_cli.errors import ContextError, ImageError, ModelError, NetworkError, OutOfMemory, PixtralError, UsageError
from pixtral_cli.images.transform import Box, size_in_patches
from tests.fakes import FakeEngine
from tests.server.serving import png, serving

KEY = "sk-secret-key-4711"


def remote(url: str, model: str | None = "fake", *, waits: list[float] | None = None, **options: Any) -> RemoteEngine:
    def wait(stopped: threading.Event, seconds: float) -> bool:
        if waits is not None:
            waits.append(seconds)
        return stopped.is_set()

    return RemoteEngine(
        ApiClient(parse_endpoint(url, options.pop("key", None)), sleep=wait, read_timeout=10), model, **options
    )


def said(chunks: Iterator[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


# Against our own server


def test_a_conversation_arrives_as_it_was_and_its_answer_comes_back_in_pieces() -> None:
    engine = FakeEngine(["one two three"])
    picture = images.from_bytes(png(20, 10), "x.png")
    asked = [system("be kind"), user("what", [picture]), assistant("a thing"), user("sure?")]
    sampling = Sampling(0.5, 0.9, 7, ("END",), 50)
    with serving(engine, trusted=True) as running:
        chunks = list(remote(running.url, sends_attachments=True).stream(asked, sampling))
    assert [chunk.text for chunk in chunks] == ["one ", "two ", "three", ""]
    assert chunks[-1] == Chunk("", "stop", Usage(16, 3, 10), Timings(ttft=0.25, decode=1.0, total=1.5))
    heard, how = engine.seen[0]
    assert how == sampling
    assert [message.role for message in heard] == ["system", "user", "assistant", "user"]
    assert heard[1].images == (picture,)
    assert heard[1].images[0].data == picture.data
    assert heard[3].text == "sure?"


def test_a_worker_gets_images_as_they_are_and_equal_bytes_once() -> None:
    """More images than a server fetches by URL, with their transforms, names and formats."""
    engine = FakeEngine(["yes"])
    plain = images.from_bytes(png(20, 10), "x.png")
    shown = [
        plain,
        plain.cropped(Box(1, 2, 3, 4)),
        plain.rotated(90),
        *(images.from_bytes(png(20, 10 + n), f"{n}") for n in range(1, 30)),
    ]
    asked = [user("what", shown)]
    with serving(engine, trusted=True) as running:
        remote_engine = remote(running.url, sends_attachments=True)
        assert said(remote_engine.stream(asked, Sampling())) == "yes"
        assert len(remote_engine.measure(asked).images) == len(shown)
    heard = engine.seen[0][0][0].images
    assert heard == tuple(shown)
    assert [image.data for image in heard] == [image.data for image in shown]
    assert len(Attachments().body({})) + len(plain.data) == len(body_of(shown[:3]))


def body_of(shown: list[images.Image]) -> bytes:
    attachments = Attachments()
    for image in shown:
        attachments.url(image)
    return attachments.body({})


def test_a_server_for_others_takes_no_attachments() -> None:
    engine = FakeEngine()
    with serving(engine) as running, pytest.raises(PixtralError, match="Content-Type"):
        said(
            remote(running.url, sends_attachments=True).stream(
                [user("what", [images.from_bytes(png(9, 9), "x")])], Sampling()
            )
        )
    assert not engine.seen


@pytest.mark.parametrize("body", [b"", b"{}", bytes(7) + b"\x09{}", b"\xff" * 16])
def test_a_body_with_attachments_that_is_cut_short_is_refused(body: bytes) -> None:
    with serving(FakeEngine(), trusted=True) as running:
        reply = running.post(body, Content_Type=CONTENT_TYPE)
    assert reply.status_code == 400
    assert "cut short" in reply.json()["error"]["message"]


def test_measuring_asks_a_server_of_ours() -> None:
    with serving(FakeEngine()) as running:
        picture = images.from_bytes(png(20, 10), "x.png")
        cost = remote(running.url).measure([user("one two", [picture])])
    assert (cost.prompt_tokens, cost.context_window, cost.images[0].tokens) == (12, 1000, 10)


def test_elsewhere_the_cost_is_counted_with_pixtrals_tokenizer(httpserver: HTTPServer) -> None:
    from mistral_common.protocol.instruct.chunk import ImageChunk, TextChunk
    from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    picture = images.from_bytes(png(100, 50), "x.png")
    theirs: list[Any] = [
        SystemMessage(content="Be brief."),
        UserMessage(content=[ImageChunk(image=picture.pixels()), TextChunk(text="What is this?")]),
        AssistantMessage(content="A thing."),
        UserMessage(content="Which thing, then?"),
    ]
    exact = MistralTokenizer.v3(is_tekken=True, is_mm=True).encode_chat_completion(
        ChatCompletionRequest(messages=theirs)
    )
    httpserver.expect_request("/v1/measure").respond_with_data("", 404)
    ours = [system("Be brief."), user("What is this?", [picture]), assistant("A thing."), user("Which thing, then?")]
    cost = remote(httpserver.url_for("/v1")).measure(ours)
    assert cost.images[0].tokens == 8 * 4
    assert cost.prompt_tokens == len(exact.tokens)


def test_tools_are_estimated_as_the_template_writes_them(httpserver: HTTPServer) -> None:
    from mistral_common.protocol.instruct.messages import UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest
    from mistral_common.protocol.instruct.tool_calls import Function
    from mistral_common.protocol.instruct.tool_calls import Tool as MistralTool
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    httpserver.expect_request("/v1/measure").respond_with_data("", 404)
    schema = {"type": "object", "properties": {"place": {"type": "string"}}}
    exact = MistralTokenizer.v3(is_tekken=True, is_mm=True).encode_chat_completion(
        ChatCompletionRequest(
            messages=[UserMessage(content="hi")],
            tools=[MistralTool(function=Function(name="weather", description="The weather.", parameters=schema))],
        )
    )
    cost = remote(httpserver.url_for("/v1")).measure([user("hi")], [Tool("weather", "The weather.", schema)])
    assert abs(cost.prompt_tokens - len(exact.tokens)) <= 5


ERRORS = [
    ContextError("the prompt is too long"),
    OutOfMemory("it does not fit"),
    UsageError("this makes no sense"),
    ImageError("no picture"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_engines_error_keeps_its_kind_on_the_way(error: PixtralError) -> None:
    with serving(FakeEngine([error])) as running, pytest.raises(type(error), match=error.message):
        list(remote(running.url).stream([user("?")], Sampling()))


def test_a_wrong_key_is_refused_and_not_repeated() -> None:
    from pixtral_cli.server.http.access import AccessRules

    with serving(FakeEngine(), rules=AccessRules(api_key="right")) as running:
        for key, why in ((KEY, "refuses"), (None, "needs")):
            with pytest.raises(NetworkError, match=why) as caught:
                list(remote(running.url, key=key).stream([user("?")], Sampling()))
            assert "pixtral login" in caught.value.hint
            assert KEY not in str(caught.value)
        assert KEY not in repr(parse_endpoint(running.url, KEY))


def test_closing_an_answer_that_another_thread_waits_for_ends_it_at_once() -> None:
    from tests.torture.test_c_server import Endless

    engine = Endless(step=0.05)
    with serving(engine) as running:
        client = remote(running.url)
        assert client.measure([user("?")]).prompt_tokens == 1
        answer = client.stream([user("?")], Sampling())
        ended = threading.Event()

        def pull() -> None:
            for _ in answer:
                pass
            ended.set()

        threading.Thread(target=pull).start()
        assert engine.begun.wait(120)
        answer.close()
        assert ended.wait(120)
        assert engine.closed.wait(120)


class Opened:
    """A connection as the HTTP client tells of it."""

    def __init__(self, ours: socket.socket) -> None:
        self.ours = ours

    def get_extra_info(self, name: str) -> Any:
        return {"socket": self.ours}[name]


@pytest.mark.parametrize("first", ["cancelled", "connected"])
def test_an_answer_cancelled_while_its_connection_is_made_or_after_closes_it(first: str) -> None:
    ours, theirs = socket.socketpair()
    request = CancellableRequest()
    for step in ("cancelled", "connected") if first == "cancelled" else ("connected", "cancelled"):
        if step == "cancelled":
            request.cancel()
        else:
            request.trace("connection.connect_tcp.complete", {"return_value": Opened(ours)})
    theirs.settimeout(60)
    assert theirs.recv(1) == b""
    ours.close()
    theirs.close()


# What is sent


def test_images_are_sent_upright_and_no_larger_than_they_are_seen(httpserver: HTTPServer, tmp_path: Path) -> None:
    from PIL import Image

    bodies = answering(httpserver)
    file = tmp_path / "tall.jpg"
    turned = Image.new("RGB", (3000, 1000), "red")
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(file, exif=exif)
    picture = images.load(str(file))
    list(remote(httpserver.url_for("/v1")).stream([user("?", [picture])], Sampling()))
    sent = images.load(bodies[0]["messages"][0]["content"][0]["image_url"]["url"])
    assert sent.size == size_in_patches((1000, 3000)) == (352, 1024)
    assert sent.pixels().tobytes()[0] > 240


def test_the_image_of_an_earlier_turn_is_encoded_once(httpserver: HTTPServer) -> None:
    bodies = answering(httpserver)
    engine = remote(httpserver.url_for("/v1"))
    picture = images.from_bytes(png(3, 3), "x.png")
    history: list[Message] = [user("?", [picture])]
    list(engine.stream(history, Sampling()))
    first = engine._urls[picture.key]
    list(engine.stream([*history, assistant("a"), user("b")], Sampling()))
    assert engine._urls[picture.key] is first
    assert bodies[1]["messages"][0] == bodies[0]["messages"][0]
    list(engine.stream([user("new")], Sampling()))
    assert not engine._urls


def test_la_plateforme_is_spoken_to_in_its_own_words() -> None:
    from pixtral_cli.engines.remote.wire_format import build_request

    body = build_request("m", [user("?")], Sampling(seed=3), str, mistral=True)
    assert body["random_seed"] == 3
    assert not {"seed", "stream_options"} & set(body)


def test_a_key_is_sent_to_its_server_and_never_follows_a_redirect(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_data(
        "", 307, {"Location": httpserver.url_for("/elsewhere")}
    )
    with pytest.raises(NetworkError, match="does not answer as"):
        list(remote(httpserver.url_for("/v1"), key=KEY).stream([user("?")], Sampling()))
    assert [request.path for request, _ in httpserver.log] == ["/v1/chat/completions"]
    assert httpserver.log[0][0].headers["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("status", [405, 501])
def test_a_server_that_is_none_of_models_is_reported_as_such(httpserver: HTTPServer, status: int) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_data("<h1>Unsupported method</h1>", status)
    with pytest.raises(NetworkError, match="does not answer as a chat completions API") as told:
        list(remote(httpserver.url_for("/v1")).stream([user("?")], Sampling()))
    assert told.value.hint == "Check --base-url"


def answering(httpserver: HTTPServer, text: str = "yes") -> list[Any]:
    """Answers every question; keeps the bodies."""
    bodies: list[Any] = []

    def answer(request: Request) -> Response:
        bodies.append(request.get_json())
        return Response(stream([{"delta": {"content": text}}, {"delta": {}, "finish_reason": "stop"}]), 200, SSE)

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(answer)
    return bodies


SSE = {"Content-Type": "text/event-stream"}


def stream(choices: list[Any], *, done: bool = True) -> bytes:
    events = [f"data: {json.dumps({'choices': [choice]})}\r\n\r\n" for choice in choices]
    return ("".join(events) + ("data: [DONE]\n\n" if done else "")).encode()


# What comes back

LA_PLATEFORME = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
    b'"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
    b'data: {"id":"1","choices":[{"index":0,"delta":{"content":[{"type":"thinking","thinking":[]},'
    b'{"type":"text","text":"Bon"}]},"finish_reason":null}]}\n\n'
    b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"jour"},"finish_reason":"model_length"}],'
    b'"usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
)
VLLM = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null}\n\n'
    b": ping\n\n"
    b'data: {"choices":[{"index":0,"delta":{"content":"Bonjour"},"finish_reason":"length"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":null}}\n\n'
    b"data: [DONE]\n\n"
)
WHOLE = (
    b'{"choices":[{"message":{"content":"Bonjour"},"finish_reason":"length"}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":2}}'
)


@pytest.mark.parametrize(
    ("body", "kind"), [(LA_PLATEFORME, "text/event-stream"), (VLLM, "text/event-stream"), (WHOLE, "application/json")]
)
def test_everybodys_shape_of_an_answer_is_read(httpserver: HTTPServer, body: bytes, kind: str) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_data(body, content_type=kind)
    chunks = list(remote(httpserver.url_for("/v1")).stream([user("?")], Sampling()))
    assert said(iter(chunks)) == "Bonjour"
    assert (chunks[-1].finish_reason, chunks[-1].usage) == ("length", Usage(5, 2))
    assert chunks[-1].timings
    assert chunks[-1].timings.total >= chunks[-1].timings.ttft > 0
    assert [bool(chunk.finish_reason) for chunk in chunks].count(True) == 1


@pytest.mark.parametrize("index", [1024, 10**18, -1, "0", True, 0.5, None, [0]])
def test_a_number_of_an_answer_that_makes_no_sense_is_that_of_the_first(httpserver: HTTPServer, index: Any) -> None:
    body = {"choices": [{"index": index, "message": {"content": "Bonjour"}, "finish_reason": "stop"}]}
    httpserver.expect_request("/v1/chat/completions").respond_with_json(body)
    assert said(remote(httpserver.url_for("/v1")).stream([user("?")], Sampling())) == "Bonjour"


def test_a_second_answer_that_was_not_asked_for_is_an_error(httpserver: HTTPServer) -> None:
    body = {"choices": [{"index": 1, "message": {"content": "Bonjour"}, "finish_reason": "stop"}]}
    httpserver.expect_request("/v1/chat/completions").respond_with_json(body)
    with pytest.raises(NetworkError, match="more answers than were asked for"):
        list(remote(httpserver.url_for("/v1")).stream([user("?")], Sampling()))


HOSTILE = {
    "not json": b"data: {nope\n\n",
    "deep": b"data: " + b"[" * 100_000 + b"\n\n",
    "not an object": b"data: [1,2]\n\n",
    "choices of numbers": b'data: {"choices":[7]}\n\n',
    "text is a number": b'data: {"choices":[{"delta":{"content":7}}]}\n\n',
    "cut": b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
    "nothing": b"",
    "only done": b"data: [DONE]\n\n",
    "a huge event": b"data: " + b" " * 3_000_000,
    "bad bytes": b"data: \xff\xfe\n\n",
    "usage of texts": b'data: {"choices":[],"usage":{"prompt_tokens":"x"},"timings":{"ttft":"x"}}\n\n',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_is_no_answer_is_one_error(httpserver: HTTPServer, body: bytes) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_data(body, content_type="text/event-stream")
    with pytest.raises(NetworkError) as caught:
        list(remote(httpserver.url_for("/v1")).stream([user("?")], Sampling()))
    assert len(caught.value.message) <= 120


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"])
def test_a_page_is_no_answer(httpserver: HTTPServer, kind: str) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_data("<html>", content_type=kind)
    with pytest.raises(NetworkError, match="not an answer"):
        list(remote(httpserver.url_for("/v1")).stream([user("?")], Sampling()))


def test_an_answer_without_end_is_ended(httpserver: HTTPServer) -> None:
    event = stream([{"delta": {"content": "x" * 500_000}}], done=False)

    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield event

    httpserver.expect_request("/v1/chat/completions").respond_with_response(Response(endless(), 200, SSE))
    with pytest.raises(NetworkError, match="without end"):
        list(remote(httpserver.url_for("/v1")).stream([user("?")], Sampling()))


def test_an_error_in_the_middle_is_an_error_after_what_came(httpserver: HTTPServer) -> None:
    body = stream([{"delta": {"content": "so "}}], done=False)
    body += b'data: {"error":{"message":"the engine died","code":"engine_unavailable"}}\n\n'
    httpserver.expect_request("/v1/chat/completions").respond_with_data(body, content_type="text/event-stream")
    answer = remote(httpserver.url_for("/v1")).stream([user("?")], Sampling())
    assert next(answer).text == "so "
    with pytest.raises(NetworkError, match="the engine died"):
        next(answer)
    assert len(httpserver.log) == 1


# Retries


def failing(httpserver: HTTPServer, *statuses: int, after: str | None = None) -> None:
    left = list(statuses)

    def answer(request: Request) -> Response:
        if left:
            return Response('{"error":{"message":"busy"}}', left.pop(0), {"Retry-After": after} if after else {})
        return Response(stream([{"delta": {"content": "yes"}, "finish_reason": "stop"}]), 200, SSE)

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(answer)


def test_a_busy_server_is_asked_again_when_it_says(httpserver: HTTPServer) -> None:
    failing(httpserver, 503, 429, after="7")
    waits: list[float] = []
    assert said(remote(httpserver.url_for("/v1"), waits=waits).stream([user("?")], Sampling())) == "yes"
    assert waits == [7.0, 7.0]


def test_without_a_word_the_waits_grow_and_end(httpserver: HTTPServer) -> None:
    failing(httpserver, *[502] * 9)
    waits: list[float] = []
    with pytest.raises(NetworkError, match="busy"):
        list(remote(httpserver.url_for("/v1"), waits=waits).stream([user("?")], Sampling()))
    assert len(waits) == 3
    assert waits[0] < waits[1] < waits[2] < 5
    assert len(httpserver.log) == 4


def test_a_long_wait_is_reported_and_not_waited(httpserver: HTTPServer) -> None:
    failing(httpserver, 429, after="3600")
    waits: list[float] = []
    with pytest.raises(NetworkError, match="too many requests") as caught:
        list(remote(httpserver.url_for("/v1"), waits=waits).stream([user("?")], Sampling()))
    assert not waits
    assert "3600 s" in caught.value.hint


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 500])
def test_what_would_fail_again_is_not_tried_again(httpserver: HTTPServer, status: int) -> None:
    failing(httpserver, status)
    with pytest.raises(PixtralError):
        list(remote(httpserver.url_for("/v1")).stream([user("?")], Sampling()))
    assert len([request for request, _ in httpserver.log if request.path.endswith("completions")]) == 1


def test_an_answer_that_has_begun_is_never_begun_again(httpserver: HTTPServer) -> None:
    def broken() -> Iterator[bytes]:
        yield stream([{"delta": {"content": "so "}}], done=False)
        raise ConnectionResetError

    httpserver.expect_request("/v1/chat/completions").respond_with_response(Response(broken(), 200, SSE))
    answer = remote(httpserver.url_for("/v1")).stream([user("?")], Sampling())
    assert next(answer).text == "so "
    with pytest.raises(NetworkError):
        next(answer)
    assert len(httpserver.log) == 1


# Refusals

REFUSALS: list[tuple[int, str, type[PixtralError]]] = [
    (400, '{"object":"error","message":"This model\'s maximum context length is 4096 tokens."}', ContextError),
    (400, '{"error":{"message":"too long","code":"context_length_exceeded"}}', ContextError),
    (422, '{"detail":[{"msg":"field required","loc":["body"]}]}', UsageError),
    (400, '{"message":"odd","code":"3001"}', UsageError),
    (401, '{"detail":"Unauthorized"}', NetworkError),
    (500, "<html>Internal</html>", NetworkError),
    (500, "[" * 5000, NetworkError),
    (418, f'{{"error":"your key {KEY} is odd"}}', NetworkError),
]


@pytest.mark.parametrize(("status", "body", "kind"), REFUSALS)
def test_refusals_become_our_errors(httpserver: HTTPServer, status: int, body: str, kind: type[PixtralError]) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_data(body, status)
    with pytest.raises(kind) as caught:
        list(remote(httpserver.url_for("/v1"), key=KEY).stream([user("?")], Sampling()))
    assert type(caught.value) is kind or kind is NetworkError
    assert KEY not in caught.value.message + caught.value.hint
    assert len(caught.value.message) <= 120


def test_a_model_that_is_not_there_names_those_that_are(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_json({"message": "Invalid model: nope"}, 404)
    httpserver.expect_request("/v1/models").respond_with_json(LISTED)
    with pytest.raises(ModelError, match="nope") as caught:
        list(remote(httpserver.url_for("/v1"), "nope").stream([user("?")], Sampling()))
    assert caught.value.hint == "It offers: first-to-see, second-to-see"
    assert caught.value.status == 4


def test_models_that_the_server_has_named_itself_are_not_named_twice(httpserver: HTTPServer) -> None:
    why = "There is no model 'nope' here; there is: first-to-see, second-to-see"
    httpserver.expect_request("/v1/chat/completions").respond_with_json({"message": why}, 404)
    httpserver.expect_request("/v1/models").respond_with_json(LISTED)
    with pytest.raises(ModelError, match="nope") as caught:
        list(remote(httpserver.url_for("/v1"), "nope").stream([user("?")], Sampling()))
    assert f"{caught.value.message} {caught.value.hint}".count("first-to-see") == 1


@pytest.mark.parametrize("end", ["/chat/completions", "/completions", "/responses", "/messages/"])
def test_the_address_of_an_endpoint_is_refused_with_the_one_above_it(end: str) -> None:
    with pytest.raises(UsageError, match=f"--base-url ends before {end.rstrip('/')}") as caught:
        parse_endpoint(f"http://127.0.0.1:8437/v1{end}")
    assert caught.value.hint == "Give http://127.0.0.1:8437/v1"


LISTED = {
    "data": [
        {"id": "blind", "capabilities": {"vision": False}},
        {"id": "old", "capabilities": {"vision": True}, "deprecation": "2025-12-31"},
        {"id": "first-to-see", "capabilities": {"vision": True}},
        {"id": "second-to-see", "capabilities": {"vision": True}},
        {"id": 7},
        "nonsense",
    ]
}


@pytest.mark.parametrize(
    ("listed", "first"), [(LISTED, "first-to-see"), ({"data": [{"id": "only", "object": "model"}]}, "only")]
)
def test_without_a_name_the_first_model_that_sees_is_used(httpserver: HTTPServer, listed: Any, first: str) -> None:
    httpserver.expect_request("/v1/models").respond_with_json(listed)
    bodies = answering(httpserver)
    engine = remote(httpserver.url_for("/v1"), None)
    assert said(engine.stream([user("?")], Sampling())) == "yes"
    assert bodies[0]["model"] == engine.model == first


@pytest.mark.parametrize("listed", [{"data": []}, {"data": [{"id": "b", "capabilities": {"vision": False}}]}])
def test_a_server_without_a_model_that_sees_is_an_error(httpserver: HTTPServer, listed: Any) -> None:
    httpserver.expect_request("/v1/models").respond_with_json(listed)
    with pytest.raises(ModelError, match="no vision model"):
        _ = remote(httpserver.url_for("/v1"), None).model


def test_no_server_listening_is_an_error_at_once() -> None:
    with pytest.raises(NetworkError, match="connection refused") as caught:
        list(remote("http://127.0.0.1:9").stream([user("?")], Sampling()))
    assert caught.value.hint == "Is the server running?"


URLS: list[tuple[str, str | None]] = [
    ("http://localhost:8000", "http://localhost:8000/v1"),
    ("https://h/api/v2/", "https://h/api/v2"),
    ("ftp://h", None),
    ("h:8000", None),
    ("http://user:pass@h", None),
    ("http://", None),
]


@pytest.mark.parametrize(("url", "base"), URLS)
def test_a_base_url_is_checked_and_completed(url: str, base: str | None) -> None:
    def call() -> Endpoint:
        return parse_endpoint(url)

    check: Callable[[], Endpoint] = call
    if base is None:
        with pytest.raises(UsageError):
            check()
    else:
        assert check().base_url == base


def test_a_server_that_cannot_measure_is_asked_once(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/v1/measure").respond_with_data("", 404)
    asked = remote(httpserver.url_for("/v1"))
    first, second = asked.measure([user("hi")]), asked.measure([user("hi")])
    assert first == second
    assert [request.path for request, _ in httpserver.log].count("/v1/measure") == 1


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(FakeEngine(["fine"])) as running:
        assert said(remote(running.url).stream([user("hi")], Sampling())) == "fine"
