"""Torture C: what must not hurt the server."""

import gc
import re
import resource
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pixtral_cli import images
from pixtral_cli.chat.engine import Chunk, Cost, Sampling, Timings, Usage
from pixtral_cli.chat.message import Message
from pixtral_cli.server.http import listener
from pixtral_cli.server.openai.requests import ImageLoader, make_image_loader
from pixtral_cli.util import net
from pixtral_cli.util.net import Network
from tests.fakes import FakeEngine
from tests.server.processes import until
from tests.server.serving import Running, data_url, picture, png, serving
from tests.torture.servers import internet, redirect, reply, serve

HELLO = b'{"model":"fake","messages":[{"role":"user","content":"hello"}]}'


def _open() -> threading.Event:
    gate = threading.Event()
    gate.set()
    return gate


@dataclass
class Endless:
    """Counts for as long as it is pulled, once its gate is open; `step` seconds a token."""

    step: float = 0.02
    running: int = 0
    most: int = 0
    steps: int = 0
    closed: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=_open)

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            assert self.gate.wait(60)
            for number in range(sampling.max_tokens or 10_000):
                time.sleep(self.step)  # stands for a decode step
                self.steps += 1
                self.begun.set()
                yield Chunk(f"{number} ")
            yield Chunk(finish_reason="length", usage=Usage(1, 1), timings=Timings(total=self.step))
        finally:
            self.running -= 1
            self.closed.set()

    def measure(self, messages: Sequence[Message], tools: object = ()) -> Cost:
        return Cost(1, 100)

    def close(self) -> None:
        pass


@pytest.fixture
def served() -> Iterator[tuple[Running, FakeEngine]]:
    engine = FakeEngine([])
    with serving(engine) as running:
        yield running, engine


# 32, 33


@pytest.mark.parametrize("host", ["evil.com", "evil.com:8000", "localhost.evil.com", "127.0.0.1.nip.io", ""])
def test_a_foreign_host_is_refused(served: tuple[Running, FakeEngine], host: str) -> None:
    running, engine = served
    response = running.post(HELLO, Host=host)
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "host_not_allowed"
    assert not engine.seen


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:1", "[::1]:8000"])
def test_this_machine_and_an_allowed_host_are_let_in(host: str) -> None:
    with serving(FakeEngine(["yes"])) as running:
        assert running.post(HELLO, Host=host).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.com", "https://evil.com", "null", "http://127.0.0.1:1"])
def test_a_foreign_page_is_refused_and_the_engine_untouched(served: tuple[Running, FakeEngine], origin: str) -> None:
    running, engine = served
    response = running.post(HELLO, Origin=origin)
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "origin_not_allowed"
    assert not engine.seen


def test_a_simple_post_of_a_form_is_refused(served: tuple[Running, FakeEngine]) -> None:
    running, engine = served
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        response = running.post(HELLO, Content_Type=kind)
        assert response.status_code == 415
        assert response.json()["error"]["code"] == "unsupported_media_type"
    assert not engine.seen


def test_no_foreign_page_may_read_an_answer() -> None:
    with serving(FakeEngine(["yes"])) as running, running.client as client:
        preflight = {"Origin": "http://evil.com", "Access-Control-Request-Method": "POST"}
        for response in (running.post(HELLO), client.options("/v1/chat/completions", headers=preflight)):
            assert not [name for name in response.headers if name.startswith("access-control")]


# 34


@pytest.mark.parametrize(
    "form", ["file://{}", "FILE://localhost{}", "file:{}", "{}", "~root/{}", "ftp://h{}", "../../../../../../{}"]
)
def test_a_file_of_this_machine_is_never_an_image(
    served: tuple[Running, FakeEngine], form: str, tmp_path: Path
) -> None:
    running, engine = served
    (tmp_path / "x.png").write_bytes(png())
    url = form.format(tmp_path / "x.png")
    for image in (url, {"url": url}):
        response = running.ask([{"type": "image_url", "image_url": image}])
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "messages.0.content.0.image_url"
    assert not engine.seen


PRIVATE = [
    "127.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "2130706433",
    "0x7f.1",
    "localhost",
]


@pytest.mark.parametrize("host", PRIVATE)
def test_a_private_address_is_never_fetched(served: tuple[Running, FakeEngine], host: str) -> None:
    running, engine = served
    response = running.ask([picture(f"http://{host}:{running.port}/x.png")])
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "image_unreachable"
    assert not engine.seen


@pytest.mark.parametrize("host", ["public.example", "inside.example"])
def test_neither_a_redirect_nor_a_name_leads_to_a_private_address(
    served: tuple[Running, FakeEngine], host: str
) -> None:
    _, engine = served
    names = {"inside.example": ["10.0.0.1"], "127.0.0.1": ["127.0.0.1"]}
    with serve(redirect("http://127.0.0.1/x.png")) as port:
        network = internet(port, names)
        with serving(engine, load=over(network)) as running:
            response = running.ask([picture(f"http://{host}/x.png")])
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "image_unreachable"
    assert response.json()["error"]["param"] == "messages.0.content.0.image_url"
    assert not engine.seen


def test_a_public_picture_is_fetched_within_its_limits() -> None:
    engine = FakeEngine(["seen"])
    with serve(reply(png(7, 5))) as port, serving(engine, load=over(internet(port))) as running:
        assert running.ask([picture("http://public.example/x.png")]).status_code == 200
    assert [image.size for image in engine.seen[0][0][0].images] == [(7, 5)]
    with serve(reply(b"x" * 2000)) as port, serving(engine, load=over(internet(port), limit=1000)) as running:
        refused = running.ask([picture("http://public.example/x.png")])
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "image_unreachable")


def over(network: Network, **limits: int) -> ImageLoader:
    """As the server has an image of a URL, over a network of the test's."""
    return lambda url: [images.from_bytes(net.fetch(url, allow_private=False, network=network, **limits).data, url)]


def test_no_image_urls_refuses_all_but_data_urls() -> None:
    engine = FakeEngine(["yes"])
    with serving(engine, load=make_image_loader(urls=False)) as running:
        refused = running.ask([picture("https://example.com/x.png")])
        assert refused.status_code == 400
        assert "data URL" in refused.json()["error"]["message"]
        assert running.ask([picture()]).status_code == 200


# 35, 36


def test_one_byte_over_the_limit_is_refused_before_parsing() -> None:
    with serving(FakeEngine(["yes", "yes"]), body_limit=len(HELLO)) as running, running.client as client:
        assert running.post(HELLO).status_code == 200
        for body in (HELLO + b"}", b"{" * (len(HELLO) + 1)):
            declared = running.post(body)
            chunked = client.post(
                "/v1/chat/completions", content=iter([body]), headers={"Content-Type": "application/json"}
            )
            for response in (declared, chunked):
                assert response.status_code == 413
                assert response.json()["error"]["code"] == "request_too_large"


def test_a_huge_declared_length_is_refused_at_once() -> None:
    with serving(FakeEngine()) as running, running.connect() as connection:
        connection.sendall(head("Content-Length: 99999999999\r\n"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def head(more: str) -> bytes:
    start = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return (start + more + "\r\n").encode()


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"POST /v1/chat/comp", id="half a header"),
        pytest.param(head("Content-Length: 100\r\n") + b"{", id="half a body"),
        pytest.param(head("Transfer-Encoding: chunked\r\n") + b"5\r\n{", id="half a chunk"),
    ],
)
def test_a_slow_request_delays_no_other_and_ends(start: bytes) -> None:
    with serving(FakeEngine(["yes"]), arrive=600, body_seconds=600) as running, running.connect() as slow:
        slow.sendall(start)
        assert running.post(HELLO).status_code == 200
    with serving(FakeEngine(), arrive=0.6, body_seconds=0.5) as running, running.connect() as slow:
        slow.sendall(start)
        reply = drain(slow)
        assert reply.startswith(b"HTTP/1.1 408") if start else reply == b""
        assert not start or b"request_timeout" in reply


@pytest.mark.parametrize("start", [b"POST /v1/chat/comp", head("Content-Length: 100\r\n") + b"{"])
def test_a_server_ends_a_request_after_the_time_that_it_was_given_and_no_other(
    start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HEADER_TIMEOUT", 600)
    monkeypatch.setattr(listener.TimedProtocol, "request_timeout", 600)
    with serving(FakeEngine(), arrive=0.5, body_seconds=600) as running, running.connect() as slow:
        slow.sendall(start)
        slow.settimeout(20)
        drain(slow)  # it ends


def test_a_drip_of_headers_does_not_put_off_the_end() -> None:
    with serving(FakeEngine(), arrive=1.0) as running, running.connect() as slow:
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        slow.settimeout(0.1)

        def ended() -> bool:
            try:
                slow.sendall(b"X-A: b\r\n")
                return bool(slow.recv(100))
            except TimeoutError:
                return False
            except OSError:
                return True

        until(ended)


def drain(connection: socket.socket) -> bytes:
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def test_slow_bodies_together_hold_no_more_than_their_share() -> None:
    with serving(FakeEngine(["yes"]), bodies_limit=1000) as running, running.connect() as slow:
        slow.sendall(head("Content-Length: 5000\r\n") + b" " * 990)
        until(lambda: running.post(HELLO).status_code == 503)
        assert running.post(HELLO).headers["Retry-After"]
        slow.close()
        until(lambda: running.post(HELLO).status_code == 200)  # what it held is given back


def test_one_who_asks_and_never_reads_holds_no_place() -> None:
    engine = FakeEngine([["x" * 1_000_000] * 200, "yes"])
    with serving(engine, read_seconds=0.5) as running, running.connect() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = HELLO[:-1] + b',"stream":true}'
        deaf.sendall(head(f"Content-Length: {len(body)}\r\n") + body)
        until(lambda: bool(engine.seen))
        until(lambda: running.app.state.queue.pending == 0)
        assert engine.closed == 1
        assert running.post(HELLO).status_code == 200


# 37, 38, 39

BROKEN = [b"", b"{", b"[" * 10_000, b'{"a":' * 10_000, b"\xff\xfe{}", b"nul", b"'x'", b'{"messages": [NaN]}']


@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
def test_broken_json_is_refused(served: tuple[Running, FakeEngine], body: bytes) -> None:
    running, engine = served
    response = running.post(body)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert not engine.seen


@pytest.mark.parametrize("values", [b"0," * 2_000_000 + b"0", b"{}," * 1_000_000 + b"{}", b"[" * 1_000_000])
def test_a_body_of_a_million_values_is_refused_before_they_are_made(
    served: tuple[Running, FakeEngine], values: bytes
) -> None:
    running, engine = served
    response = running.post(b'{"messages":[' + values + b"]}")
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "too_many_values"
    assert not engine.seen


def test_a_text_may_hold_as_many_commas_as_it_likes() -> None:
    with serving(FakeEngine(["yes"])) as running:
        assert running.ask('1,2,{"a\\":[3]}\n' * 100_000).status_code == 200


def test_a_lone_surrogate_is_refused(served: tuple[Running, FakeEngine]) -> None:
    running, engine = served
    response = running.post(HELLO.replace(b"hello", b"a\\ud800b"))
    assert response.status_code == 400
    assert not engine.seen


FIELDS = [
    ("n", 10**9), ("n", 0), ("max_tokens", -2), ("max_tokens", 0), ("max_tokens", 1.5), ("max_tokens", 10**40), ("max_tokens", "9"),
    ("max_completion_tokens", -2), ("temperature", "hot"), ("temperature", -0.1), ("temperature", 1e300), ("top_p", 2), ("top_p", 0),
    ("seed", 2**80), ("stop", [""]), ("stop", ["x"] * 1000), ("stop", "x" * 10_000), ("stream", "yes"), ("model", 5),
    ("messages", []), ("messages", "hello"), ("tools", [{}]), ("logprobs", 1), ("frequency_penalty", 2.5), ("nonsense", 1),
    ("presence_penalty", -3), ("repetition_penalty", 0), ("repetition_penalty", "much"), ("top_k", -2), ("top_k", 1.5), ("min_p", 1.5),
    ("top_logprobs", 50), ("top_logprobs", 2), ("logit_bias", {"a": 1}), ("logit_bias", {"5": 101}), ("logit_bias", [1]), ("n", 33),
    ("response_format", {"type": "json_schema"}), ("response_format", {"type": "yaml"}),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "x"}}}),
    ("stream_options", 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), FIELDS)
def test_a_senseless_value_is_refused_and_its_field_named(
    served: tuple[Running, FakeEngine], name: str, value: object
) -> None:
    running, engine = served
    response = running.ask(**{name: value})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"].split(".")[0] == name
    assert name in error["message"]
    assert len(error["message"]) <= 300
    assert not engine.seen


# 40


@pytest.mark.parametrize("stream", [True, False])
def test_computing_stops_when_the_client_leaves(stream: bool) -> None:
    engine = Endless()
    with serving(engine) as running:
        leave_in_the_middle(running, engine, stream)
        left = engine.steps
        assert engine.closed.wait(120)
        assert (engine.steps - left) * engine.step <= 1 + 2 * engine.step
        assert running.ask(max_tokens=2).status_code == 200


def leave_in_the_middle(running: Running, engine: Endless, stream: bool) -> None:
    body = HELLO[:-1] + (b',"stream":true}' if stream else b"}")
    with running.connect() as connection:
        connection.sendall(head(f"Content-Length: {len(body)}\r\n") + body)
        assert engine.begun.wait(120)
        if stream:
            assert connection.recv(100)


def test_one_who_leaves_the_queue_is_never_computed() -> None:
    engine = Endless()
    with serving(engine) as running, running.connect() as first:
        first.sendall(head(f"Content-Length: {len(HELLO)}\r\n") + HELLO)
        assert engine.begun.wait(120)
        with running.connect() as second:
            second.sendall(head(f"Content-Length: {len(HELLO)}\r\n") + HELLO)
            until(lambda: running.app.state.queue.pending == 2)
        until(lambda: running.app.state.queue.pending == 1)
        first.close()
        until(lambda: running.app.state.queue.pending == 0)
        assert engine.most == 1


# 41


def test_64_clients_on_a_queue_of_16_are_answered_or_asked_to_retry() -> None:
    engine = Endless(gate=threading.Event())
    with serving(engine, running=2, waiting=16) as running, ThreadPoolExecutor(64) as clients:
        asked = [clients.submit(running.ask, max_tokens=3, stream=bool(n % 2)) for n in range(64)]
        try:
            until(lambda: sum(one.done() for one in asked) == 64 - 18)
            refused = [one for one in asked if one.done()]
        finally:
            engine.gate.set()
        assert [one.result().status_code for one in asked if one not in refused] == [200] * 18
    assert engine.most == 2
    for one in refused:
        assert one.result().status_code == 503
        assert int(one.result().headers["Retry-After"]) >= 1
        assert one.result().json()["error"]["code"] == "queue_full"


# 42 and 43 have more in test_c_server_process


def test_while_there_is_no_engine_questions_are_asked_to_retry() -> None:
    with serving(FakeEngine(), alive=lambda: False) as running, running.client as client:
        health = client.get("/health")
        assert (health.status_code, health.content) == (503, b"")
        response = running.ask()
        assert response.status_code == 503
        assert response.headers["Retry-After"]


def test_what_runs_too_long_after_sigterm_is_reported() -> None:
    engine = Endless()
    with serving(engine, running=2, finish=0.3) as running, ThreadPoolExecutor(2) as clients:
        whole = clients.submit(running.ask)
        streamed = clients.submit(running.ask, stream=True)
        until(lambda: engine.running == 2)
        running.server.should_exit = True
        assert whole.result().status_code == 503
        assert whole.result().json()["error"]["code"] == "shutting_down"
        assert "shutting_down" in streamed.result().text
        assert "[DONE]" not in streamed.result().text


# 45

SECRET = re.compile(r"0x[0-9a-f]{6,}|Traceback|File \"|/home/|/root/|/tmp/|site-packages|\.py\b")


def test_500_malformed_requests_leak_nothing() -> None:
    bad = list(malformed())
    with serving(FakeEngine()) as running, running.client as client:
        for url in bad[:50]:
            client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": [picture(url)]}]})
        gc.collect()
        before = memory()
        for url in bad:
            response = client.post(
                "/v1/chat/completions", json={"messages": [{"role": "user", "content": [picture(url)]}]}
            )
            assert response.status_code == 400, url[:80]
            assert not SECRET.search(response.text), response.text
        gc.collect()
        assert memory() - before < 50_000_000


def malformed() -> Iterator[str]:
    good = png(64, 64)
    for place in range(125):
        yield data_url(good[: 1 + place % (len(good) - 1)])
        yield data_url(good[:29] + bytes([good[29] ^ (1 + place)]) + good[30:])
        yield data_url(bytes([place]) * (place * 37), f"image/{'png' if place % 2 else 'jpeg'}")
        yield f"data:image/png;base64,{'!' * place}" if place % 2 else f"data:image/png{place}"


def memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_an_error_of_our_own_is_reported_without_its_insides() -> None:
    with serving(FakeEngine([ValueError("at 0x7f00deadbeef in /root/secret.py")])) as running:
        response = running.ask()
    assert response.status_code == 500
    assert response.json()["error"] == {
        "message": "The server failed.",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }
