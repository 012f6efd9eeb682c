"""What a server may send: each limit is tried on both sides."""

import json
import socket
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.engines.remote import keys
from pixtral_cli.engines.remote.client import ApiClient
from pixtral_cli.engines.remote.engine import RemoteEngine, connect
from pixtral_cli.engines.remote.errors import Refused, Unreachable, parse_endpoint
from pixtral_cli.engines.remote.estimate import estimate_cost
from pixtral_cli.errors import ModelError, NetworkError, UsageError
from tests.engines.remote.test_engine import SSE, failing, remote, said, stream

ASKED = [user("?")]


@pytest.mark.parametrize(("after", "waited"), [("60", [60.0]), ("0", [0.0]), ("61", [])])
def test_a_wait_of_a_minute_is_waited_and_a_longer_one_reported(
    httpserver: HTTPServer, after: str, waited: list[float]
) -> None:
    failing(httpserver, 429, after=after)
    waits: list[float] = []
    answer = remote(httpserver.url_for("/v1"), waits=waits).stream(ASKED, Sampling())
    if waited:
        assert said(answer) == "yes"
    else:
        with pytest.raises(NetworkError, match="too many requests"):
            said(answer)
    assert waits == waited


@pytest.mark.parametrize(("seconds", "least", "most"), [(-1000, 0, 0), (50, 1, 50)])
def test_a_wait_may_be_given_as_a_date(httpserver: HTTPServer, seconds: float, least: float, most: float) -> None:
    failing(httpserver, 503, after=formatdate(time.time() + seconds, usegmt=True))
    waits: list[float] = []
    assert said(remote(httpserver.url_for("/v1"), waits=waits).stream(ASKED, Sampling())) == "yes"
    assert len(waits) == 1
    assert least <= waits[0] <= most


@pytest.mark.parametrize("after", ["soon", "-5", "1e3", ""])
def test_a_wait_that_is_no_number_is_as_none(httpserver: HTTPServer, after: str) -> None:
    failing(httpserver, 503, after=after)
    waits: list[float] = []
    assert said(remote(httpserver.url_for("/v1"), waits=waits).stream(ASKED, Sampling())) == "yes"
    assert 0.4 <= waits[0] <= 0.6


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_outage_that_may_pass_is_tried_four_times(httpserver: HTTPServer, status: int) -> None:
    failing(httpserver, *[status] * 3)
    waits: list[float] = []
    assert said(remote(httpserver.url_for("/v1"), waits=waits).stream(ASKED, Sampling())) == "yes"
    assert [0.5 * 2**n * 0.8 <= wait <= 0.5 * 2**n * 1.2 for n, wait in enumerate(waits)] == [True] * 3


@pytest.mark.parametrize(("padding", "told"), [(60_000, True), (200_000, False)])
def test_an_error_of_64_kb_is_read_and_a_longer_one_cut(httpserver: HTTPServer, padding: int, told: bool) -> None:
    body = json.dumps({"padding": "x" * padding, "error": {"message": "no such thing"}})
    httpserver.expect_request("/v1/chat/completions").respond_with_data(body, 400)
    with pytest.raises(UsageError) as error:
        said(remote(httpserver.url_for("/v1")).stream(ASKED, Sampling()))
    assert ("no such thing" in error.value.message) is told
    assert told or "status 400" in error.value.message


@pytest.mark.parametrize(("size", "read"), [(15_900_000, True), (17_000_000, False)])
def test_a_reply_of_16_mb_is_read_and_a_longer_one_is_none(httpserver: HTTPServer, size: int, read: bool) -> None:
    httpserver.expect_request("/v1/models").respond_with_json({"padding": "x" * size, "data": [{"id": "m"}]})
    engine = remote(httpserver.url_for("/v1"), None)
    if read:
        assert engine.model == "m"
    else:
        with pytest.raises(NetworkError, match="not JSON"):
            _ = engine.model


@pytest.mark.parametrize(("count", "characters"), [(1, 8_000_000), (2, 16_000_000)])
def test_an_answer_of_eight_million_characters_is_whole_and_a_longer_one_without_end(
    httpserver: HTTPServer, count: int, characters: int
) -> None:
    more = [""]

    def answer(request: Request) -> Response:
        texts = [{"delta": {"content": "x" * 500_000}, "index": count - 1}] * (characters // 500_000)
        last = [{"delta": {"content": more[0]}, "index": n, "finish_reason": "stop"} for n in range(count)]
        return Response(stream([*texts, *last]), 200, SSE)

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(answer)
    engine = remote(httpserver.url_for("/v1"))
    assert len(said(engine.stream(ASKED, Sampling(n=count)))) == characters
    more[0] = "y"
    with pytest.raises(NetworkError, match="without end"):
        said(engine.stream(ASKED, Sampling(n=count)))


def test_what_is_thought_and_called_counts_as_said(httpserver: HTTPServer) -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "x" * 500_000}}
    thought = {"delta": {"reasoning_content": "x" * 500_000}}
    last = {"delta": {"content": "x"}, "finish_reason": "stop"}
    body = stream([thought] * 8 + [{"delta": {"tool_calls": [call]}}] * 8 + [last])
    httpserver.expect_request("/v1/chat/completions").respond_with_data(body, content_type="text/event-stream")
    with pytest.raises(NetworkError, match="without end"):
        said(remote(httpserver.url_for("/v1")).stream(ASKED, Sampling()))


@pytest.mark.parametrize(
    ("count", "hint"),
    [(5, "It offers: m0, m1, m2, m3, m4"), (6, "It offers: m0, m1, m2, m3, m4 and 1 more")],
)
def test_five_models_are_named_and_the_others_counted(httpserver: HTTPServer, count: int, hint: str) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_json({"message": "no model"}, 404)
    listed = {"data": [{"id": f"m{n}"} for n in range(count)] + [{"id": "m0"}]}
    httpserver.expect_request("/v1/models").respond_with_json(listed)
    with pytest.raises(ModelError) as error:
        said(remote(httpserver.url_for("/v1"), "none").stream(ASKED, Sampling()))
    assert error.value.hint == hint


@pytest.mark.parametrize("listed", [{"data": "none"}, [], {"data": None}])
def test_where_no_models_can_be_listed_the_usual_hint_stays(httpserver: HTTPServer, listed: Any) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_json({"message": "no model"}, 404)
    httpserver.expect_request("/v1/models").respond_with_json(listed)
    with pytest.raises(ModelError) as error:
        said(remote(httpserver.url_for("/v1"), "none").stream(ASKED, Sampling()))
    assert error.value.hint == "Check --model and --base-url"
    with pytest.raises(NetworkError, match="lists no models"):
        _ = remote(httpserver.url_for("/v1"), None).model


def test_thirty_versions_are_read_and_long_ones_cut(httpserver: HTTPServer) -> None:
    reported: dict[str, Any] = {"n" * 60: "v" * 300, "number": 7, **{f"p{n}": "1" for n in range(28)}, "last": "1"}
    httpserver.expect_request("/version").respond_with_json(reported)
    versions = remote(httpserver.url_for("/v1")).versions()
    assert versions == {"n" * 50: "v" * 200, **{f"p{n}": "1" for n in range(28)}}


def test_a_server_without_versions_has_none_and_one_that_is_not_there_is_an_error(httpserver: HTTPServer) -> None:
    assert remote(httpserver.url_for("/v1")).versions() == {}
    httpserver.expect_request("/version").respond_with_json(["1.0"])
    assert remote(httpserver.url_for("/v1")).versions() == {}
    assert remote("https://api.mistral.ai/v1").versions() == {}
    with pytest.raises(Unreachable):
        remote("http://127.0.0.1:9/v1").versions()


@pytest.mark.parametrize("change", ["prompt_tokens", "context_window", "images", None])
def test_a_measurement_in_an_unknown_form_is_estimated(httpserver: HTTPServer, change: str | None) -> None:
    cost: dict[str, Any] = {"prompt_tokens": 7, "context_window": 900, "images": []}
    httpserver.expect_request("/v1/measure").respond_with_json(cost | ({change: "?"} if change else {}))
    measured = remote(httpserver.url_for("/v1")).measure(ASKED)
    assert measured.context_window == (128_000 if change else 900)
    assert (measured.prompt_tokens == 7) is (change is None)


def test_a_long_text_is_estimated_by_its_length() -> None:
    tokenized = estimate_cost([user("hello " * 16_666 + "help")], 1000).prompt_tokens  # 100,000 characters
    assert tokenized < 20_000
    assert estimate_cost([user("hello " * 16_666 + "helps")], 1000).prompt_tokens == 100_001 // 4 + 3


def test_la_plateforme_is_asked_with_a_key_and_encrypted_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    with pytest.raises(Refused, match="no API key"):
        connect(None, None, file)
    with pytest.raises(UsageError, match="in clear text"):
        connect("http://api.mistral.ai/v1", None, file)
    keys.save("https://api.mistral.ai/v1", "stored", file)
    assert connect(None, None, file).server.key == "stored"
    monkeypatch.setenv("MISTRAL_API_KEY", "given")
    assert connect(None, None, file).server.key == "given"
    keys.save("https://api.mistral.ai/v1", None, file)
    monkeypatch.delenv("MISTRAL_API_KEY")
    with pytest.raises(Refused):
        connect(None, None, file)


def test_a_server_that_accepts_and_says_nothing_has_stopped_sending() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = parse_endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}")
        engine = RemoteEngine(ApiClient(endpoint, read_timeout=0.1), "m")
        with pytest.raises(NetworkError, match=r"127\.0\.0\.1 stopped sending") as error:
            said(engine.stream(ASKED, Sampling()))
    assert error.value.hint == "Try again"


@pytest.mark.parametrize(
    ("failure", "says", "kind"),
    [
        (httpx2.ConnectTimeout("t"), "far.example cannot be reached: no connection within 10 s", Unreachable),
        (httpx2.ConnectError("no route to host"), "far.example cannot be reached: no route to host", Unreachable),
        (httpx2.ReadError("reset"), "far.example broke off the connection", NetworkError),
        (httpx2.DecodingError("gzip"), "far.example sent something unreadable", NetworkError),
    ],
)
def test_each_failure_of_a_connection_elsewhere_is_named(
    failure: Exception, says: str, kind: type[NetworkError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server elsewhere that cannot be reached is tried four times, half a second apart; any other failure is the last."""

    def send(*_: Any, **__: Any) -> Any:
        raise failure

    monkeypatch.setattr(httpx2.Client, "send", send)
    waits: list[float] = []
    with pytest.raises(NetworkError) as error:
        said(remote("http://far.example", waits=waits).stream(ASKED, Sampling()))
    assert type(error.value) is kind
    assert error.value.message == says
    assert waits == ([0.5] * 3 if kind is Unreachable else [])


def test_a_request_that_is_cancelled_while_it_waits_is_not_sent_again(httpserver: HTTPServer) -> None:
    failing(httpserver, 503, 503)
    client = ApiClient(parse_endpoint(httpserver.url_for("/v1")), sleep=lambda cancelled, seconds: True)
    with pytest.raises(NetworkError, match="The answer was cancelled"):
        client.post("/chat/completions", {})
    assert len(httpserver.log) == 1


@pytest.mark.parametrize(
    "calls", ["none", [5], [{"function": {"name": 5}}], [{"id": 5}], [{"function": {"arguments": 5}}]]
)
def test_calls_that_are_none_are_no_answer(httpserver: HTTPServer, calls: Any) -> None:
    body = stream([{"delta": {"tool_calls": calls}, "finish_reason": "tool_calls"}])
    httpserver.expect_request("/v1/chat/completions").respond_with_data(body, content_type="text/event-stream")
    with pytest.raises(NetworkError, match="not an answer"):
        said(remote(httpserver.url_for("/v1")).stream(ASKED, Sampling()))


@pytest.mark.parametrize(
    ("entry", "data"),
    [({"bytes": [104, 105]}, b"hi"), ({"bytes": [300]}, b"hi"), ({"bytes": ["a"]}, b"hi"), ({"bytes": None}, b"hi")],
)
def test_bytes_of_a_token_that_are_none_are_those_of_its_text(
    httpserver: HTTPServer, entry: dict[str, Any], data: bytes
) -> None:
    logprobs = {"content": [{"token": "hi", "logprob": -1.0, **entry}, {"token": "x", "logprob": "y"}, 5]}
    body = stream([{"delta": {"content": "hi"}, "logprobs": logprobs, "finish_reason": "stop"}])
    httpserver.expect_request("/v1/chat/completions").respond_with_data(body, content_type="text/event-stream")
    chunks = list(remote(httpserver.url_for("/v1")).stream(ASKED, Sampling(logprobs=0)))
    assert [one.data for chunk in chunks for one in chunk.logprobs] == [data]
