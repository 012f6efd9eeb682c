"""TORTURE, part B: URLs that lead inside, never end, or are not what they say. Exit 5, for bodies and data URLs exit 3."""

import base64
import gzip
import socket
import threading
import time
import tracemalloc

import pytest

from pixtral_cli import images
from pixtral_cli.errors import ImageError, NetworkError, PixtralError
from pixtral_cli.util import net
from tests.torture import pictures
from tests.torture.servers import PUBLIC, Rerouted, internet, redirect, reply, serve

PICTURE = pictures.encoded(pictures.corners(), "PNG")
SPELLINGS = [
    "127.0.0.1",
    "10.1.2.3",
    "169.254.169.254",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "0.0.0.0",
    "100.64.0.1",
    "localhost",
]


def line(error: PixtralError, status: int) -> str:
    """The message of an error with this exit status: one harmless line of at most 120 characters."""
    assert error.status == status
    assert 0 < len(error.message) <= 120
    assert error.message.isprintable()
    assert " at 0x" not in error.message + error.hint
    return error.message


def refused(url: str, *, allow_private: bool, status: int = 5, **options: object) -> str:
    with pytest.raises((NetworkError, ImageError)) as caught:
        net.fetch(url, allow_private=allow_private, **options)  # type: ignore[arg-type]
    return line(caught.value, status)


# 22: private addresses


@pytest.mark.parametrize("host", SPELLINGS)
def test_a_private_address_from_a_batch_or_the_api_is_refused_in_any_spelling(host: str) -> None:
    with serve(reply(PICTURE)) as port, pytest.raises(NetworkError) as caught:
        images.load(f"http://{host}:{port}/cat.png")
    assert "private address" in line(caught.value, 5)
    assert "--allow-private" in caught.value.hint


@pytest.mark.parametrize("address", ["10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "fd00::1", "fe80::1"])
def test_a_name_with_even_one_private_address_is_refused_undialled(address: str) -> None:
    with serve(reply(PICTURE)) as port:
        network = internet(port, {"mixed.example": [PUBLIC, address]})
        assert "private" in refused("http://mixed.example/", allow_private=False, network=network)
        assert isinstance(network.dial, Rerouted)
        assert network.dial.dialled == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433"])
def test_a_private_address_typed_by_the_user_is_fetched(host: str) -> None:
    with serve(reply(PICTURE)) as port:
        image = images.load(f"http://{host}:{port}/pictures/cat.png?token=secret", typed=True)
    assert (image.name, image.format, image.size) == ("cat.png", "PNG", (24, 16))


def test_allow_private_opens_private_addresses_to_a_batch() -> None:
    with serve(reply(PICTURE)) as port:
        assert images.load(f"http://127.0.0.1:{port}/", allow_private=True).size == (24, 16)


# 23, 24: redirects and rebinding


@pytest.mark.parametrize("allow_private", [False, True])
@pytest.mark.parametrize(
    "inside", ["http://127.0.0.1/", "http://metadata.example/latest", "//10.0.0.1/", "https://[::1]/"]
)
def test_a_redirect_from_a_public_to_a_private_address_is_refused_however_it_was_given(
    inside: str, allow_private: bool
) -> None:
    with serve(redirect(inside)) as port:
        names = {"metadata.example": ["169.254.169.254"]}
        names |= {"127.0.0.1": ["127.0.0.1"], "10.0.0.1": ["10.0.0.1"], "::1": ["::1"]}
        network = internet(port, names)
        message = refused("http://public.example/cat.png", allow_private=allow_private, network=network)
        assert "redirects to" in message
        assert isinstance(network.dial, Rerouted)
        assert network.dial.dialled == [(PUBLIC, 80)]


def test_a_typed_private_address_may_redirect_to_another_and_never_back_from_a_public_one() -> None:
    def answer(connection: socket.socket, request: str) -> None:
        path = request.split()[1]
        steps = {"/a": "http://inside-too.example/b", "/c": "http://public.example/d", "/d": "http://inside.example/e"}
        (redirect(steps[path]) if path in steps else reply(PICTURE))(connection, request)

    with serve(answer) as port:
        network = internet(port, {"inside.example": ["10.0.0.1"], "inside-too.example": ["10.0.0.2"]})
        assert net.fetch("http://inside.example/a", allow_private=True, network=network).data == PICTURE
        assert "redirects to" in refused("http://inside.example/c", allow_private=True, network=network)


def test_a_typed_name_with_even_one_public_address_redirects_to_no_private_one() -> None:
    for addresses in (["10.0.0.1", PUBLIC], [PUBLIC, "10.0.0.1"]):
        with serve(redirect("http://inside.example/")) as port:
            network = internet(port, {"both.example": addresses, "inside.example": ["10.0.0.2"]})
            assert "redirects to" in refused("http://both.example/", allow_private=True, network=network)
            assert isinstance(network.dial, Rerouted)
            assert "10.0.0.2" not in [address for address, _ in network.dial.dialled]


def test_of_a_name_that_changes_its_address_the_checked_one_is_dialled() -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    with serve(reply(PICTURE)) as port:
        dial = Rerouted(port)
        network = net.Network(resolve=lambda host, _: next(answers), dial=dial)
        assert net.fetch("http://rebinding.example/", allow_private=False, network=network).data == PICTURE
        assert dial.dialled == [(PUBLIC, 80)]
        assert "private" in refused("http://rebinding.example/", allow_private=False, network=network)


# 25: tricks in the URL


@pytest.mark.parametrize(
    "url",
    [
        "http://ok\\@evil/",
        "http://ok@evil/",
        "http://user:secret@evil/",
        "http://ok\t/",
        "http://ok\r\nHost: evil/",
        "http://ok:99999/",
        "http://ok:0/",
        "http://[::1/",
        "http:///path",
        "http://a..b/",
        "http://" + "a" * 300 + "/",
        "http://ok%2f@evil/",
        "http://\u2100/",
    ],
)
def test_urls_that_parsers_disagree_on_are_refused_undialled(url: str) -> None:
    with serve(reply(PICTURE)) as port:
        network = internet(port)
        message = refused(url, allow_private=True, network=network)
        assert "secret" not in message
        assert isinstance(network.dial, Rerouted)
        assert network.dial.dialled == []


# 26 to 28: bodies without end


def test_an_endless_body_is_cut_at_20_megabytes() -> None:
    sent = 0

    def endless(connection: socket.socket, request: str) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")
        while True:
            sent += 65536
            connection.sendall(bytes(65536))

    with serve(endless) as port:
        tracemalloc.start()
        assert "larger than 20 MB" in refused(f"http://127.0.0.1:{port}/", allow_private=True)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert 20_000_000 <= sent <= 40_000_000  # what lies in the sockets' buffers comes on top
    assert peak <= 50_000_000


def test_a_body_that_announces_too_much_is_not_read() -> None:
    def boastful(connection: socket.socket, request: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 20000001\r\n\r\n")
        connection.recv(1)  # until the client hangs up

    with serve(boastful) as port:
        assert "larger than 20 MB" in refused(f"http://127.0.0.1:{port}/", allow_private=True)


DRIPS = {
    "the status line": b"",
    "the headers": b"HTTP/1.1 200 OK\r\nX: ",
    "the body": b"HTTP/1.1 200 OK\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "interim answers": b"HTTP/1.1 102 Processing\r\n\r\n",
}


@pytest.mark.parametrize("where", DRIPS)
def test_a_drip_of_single_bytes_stops_when_the_time_is_up(where: str) -> None:
    over = threading.Event()

    def drip(connection: socket.socket, request: str) -> None:
        connection.sendall(DRIPS[where])
        piece = {"chunks": b"1\r\na\r\n", "interim answers": DRIPS[where]}.get(where, b"H")
        while not over.wait(0.02):
            connection.sendall(piece)

    with serve(drip) as port:
        message = refused(f"http://127.0.0.1:{port}/", allow_private=True, seconds=0.5)
        over.set()
    assert "not complete after 0.5 s" in message


def test_the_time_is_15_seconds_in_all_and_not_for_each_byte() -> None:
    now = 0.0

    def slow(connection: socket.socket, request: str) -> None:
        nonlocal now
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            now += 1.0  # by the clock that is handed in, a second passes with every byte
            connection.sendall(b"x")
            time.sleep(0)

    with serve(slow) as port:
        network = net.Network(clock=lambda: now)
        assert "15 s" in refused(f"http://127.0.0.1:{port}/", allow_private=True, network=network)


def test_a_resolver_that_hangs_stops_when_the_time_is_up() -> None:
    over = threading.Event()

    def hang(host: str, port: int) -> list[str]:
        over.wait(120)
        return [PUBLIC]

    network = net.Network(resolve=hang)
    assert "0.3 s" in refused("http://slow.example/", allow_private=False, seconds=0.3, network=network)
    over.set()


def test_a_gzip_bomb_is_refused_as_an_image_within_50_megabytes() -> None:
    bomb = gzip.compress(bytes(500_000_000), 9)
    assert len(bomb) < 1_000_000
    with serve(reply(bomb, Content_Type="image/png", Content_Encoding="gzip")) as port:
        tracemalloc.start()
        start = time.process_time()  # of this process alone: the machine may be busy
        message = refused(f"http://127.0.0.1:{port}/bomb.png", allow_private=True, status=3)
        seconds = time.process_time() - start
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert "unpacks to more than 20 MB" in message
    assert peak <= 50_000_000
    assert seconds <= 2


# 29: redirects without end


def test_three_redirects_are_followed_and_a_fourth_is_not() -> None:
    def countdown(connection: socket.socket, request: str) -> None:
        left = int(request.split()[1].strip("/"))
        (redirect(f"/{left - 1}") if left else reply(PICTURE))(connection, request)

    with serve(countdown) as port:
        assert net.fetch(f"http://127.0.0.1:{port}/3", allow_private=True).data == PICTURE
        assert "more than 3 redirects" in refused(f"http://127.0.0.1:{port}/4", allow_private=True)


def test_a_redirect_in_a_circle_ends() -> None:
    with serve(redirect("/again")) as port:
        assert "more than 3 redirects" in refused(f"http://127.0.0.1:{port}/again", allow_private=True)


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://ok/x", "data:image/png;base64,AAAA", "http://[", "http://a@b/"]
)
def test_a_redirect_to_something_else_than_a_web_page_is_refused(location: str) -> None:
    with serve(redirect(location)) as port:
        refused(f"http://127.0.0.1:{port}/", allow_private=True)


# 30, 31: not a picture


def test_a_login_page_that_says_it_is_a_png_looks_like_html() -> None:
    with serve(reply(pictures.HTML, Content_Type="image/png")) as port, pytest.raises(ImageError) as caught:
        images.load(f"http://127.0.0.1:{port}/cat.png", typed=True)
    assert "looks like HTML" in line(caught.value, 3)
    assert "login" in caught.value.message


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("data:image/png;base64", "comma"),
        ("data:", "comma"),
        ("data:image/png;base64,%%%%", "not base64"),
        ("data:image/png;base64,AAAAA", "not base64"),
        ("data:image/png;base64,", "empty"),
        ("data:image/png;base64,SGVsbG8gd29ybGQ=", "text"),
        ("data:text/html,<html>", "HTML"),
    ],
)
def test_a_malformed_data_url_is_an_image_error(url: str, says: str) -> None:
    with pytest.raises(ImageError) as caught:
        images.load(url)
    assert says in line(caught.value, 3)


def test_a_data_url_of_100_megabytes_is_refused_unread() -> None:
    url = "data:image/png;base64," + "A" * 100_000_000
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(ImageError) as caught:
        images.load(url)
    seconds = time.process_time() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "larger than 20 MB" in line(caught.value, 3)
    assert seconds <= 0.2
    assert peak <= 50_000_000


def test_a_good_data_url_is_a_picture() -> None:
    url = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    assert images.load(url).data == images.load(url.replace("=", "")).data == PICTURE
