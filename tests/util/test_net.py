"""The bounded download: which addresses are public, what is sent, and what each failure is called."""

import gzip
import ssl
import threading
from pathlib import Path
from typing import Any

import httpcore2
import pytest

from pixtral_cli.errors import NetworkError
from pixtral_cli.util import addresses, net
from tests.torture.servers import PUBLIC, internet, remembering, reply, serve

# A self-signed certificate for pictures.example, made for this test; it guards nothing.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBqjCCAVCgAwIBAgIUdpUNP438qvTJXar1v/eEwLBuAv4wCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQcGljdHVyZXMuZXhhbXBsZTAgFw0yNjExMjMxMTI1MTBaGA8y
MTI2MTAzMDExMjUxMFowGzEZMBcGA1UEAwwQcGljdHVyZXMuZXhhbXBsZTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABBZA9nm1epzcV1eMKVHaUTbUCWPL2d8Zkhjq
XS6ozBlnfmP4AI4TsREAb5+UCybSUiJCjagpy3sMI3smH0R+PKyjcDBuMB0GA1Ud
DgQWBBTRlon9R+fJoo8GCYgz7wXGzUxcGjAfBgNVHSMEGDAWgBTRlon9R+fJoo8G
CYgz7wXGzUxcGjAPBgNVHRMBAf8EBTADAQH/MBsGA1UdEQQUMBKCEHBpY3R1cmVz
LmV4YW1wbGUwCgYIKoZIzj0EAwIDSAAwRQIgQoXa79OkvkpD4EdOewjc4n5ICNUO
zbHWGViwMrVgAE8CIQCa1i50qDszHQsxiFnHKNRvaG137sHcc3PC1x79IODoHA==
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJ6yIBFXQITfPpgAC
tQuN6/AeN4CuUX+DmB2MRI9hrO+hRANCAAQWQPZ5tXqc3FdXjClR2lE21Aljy9nf
GZIY6l0uqMwZZ35j+ACOE7ERAG+flAsm0lIiQo2oKct7DCN7Jh9Efjys
-----END PRIVATE KEY-----
"""


def failure(url: str, **options: object) -> NetworkError:
    with pytest.raises(NetworkError) as caught:
        net.fetch(url, allow_private=True, **options)  # type: ignore[arg-type]
    assert len(caught.value.message) <= 120
    return caught.value


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.169.254",
        "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.255.255", "198.18.0.1",
        "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
        "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1",
        "64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1", "2002:7f00:1::", "2002:808:808::",
        "3fff::1", "fc00::1", "fdff::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_of_the_open_internet(address: str) -> None:
    assert not addresses.is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        PUBLIC,
        "100.63.255.255",
        "172.32.0.1",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ],
)
def test_addresses_of_the_open_internet(address: str) -> None:
    assert addresses.is_public(address)


def test_one_get_is_sent_with_the_name_as_host_and_without_cookies_or_credentials() -> None:
    heads: list[str] = []
    url = "http://pictures.example:8080/ä%20b.png?q=ü#part"
    with serve(remembering(heads, reply(b"x", Content_Type="image/png"))) as port:
        page = net.fetch(url, allow_private=False, network=internet(port))
    assert page == net.Download(b"x", "image/png", url)
    lines = heads[0].split("\r\n")
    assert lines[0] == "GET /%C3%A4%20b.png?q=%C3%BC HTTP/1.1"
    names = [line.partition(":")[0] for line in lines[1:] if line]
    assert names == ["Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"]
    assert "Host: pictures.example:8080" in lines
    assert "Accept-Encoding: identity" in lines


def test_an_address_of_version_6_is_bracketed_in_the_host_header() -> None:
    heads: list[str] = []
    with serve(remembering(heads, reply(b"x"))) as port:
        network = internet(port, {"2606:4700::1111": ["2606:4700::1111"]})
        net.fetch("http://[2606:4700::1111]:81/", allow_private=False, network=network)
    assert "Host: [2606:4700::1111]:81" in heads[0]


def test_a_domain_in_another_script_is_resolved_by_its_ascii_form() -> None:
    names = {"xn--bcher-kva.example": [PUBLIC], "bücher.example": ["127.0.0.1"]}
    with serve(reply(b"x")) as port:
        assert net.fetch("http://bücher.example/", allow_private=False, network=internet(port, names)).data == b"x"


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serve(reply(b"x")) as port:
        assert net.fetch(f"http://127.0.0.1:{port}/", allow_private=True).data == b"x"


def test_if_the_first_address_is_dead_the_next_is_dialled() -> None:
    with serve(reply(b"x")) as port:
        network = net.Network(resolve=lambda host, _: ["127.0.0.2", "127.0.0.1"])
        assert net.fetch(f"http://two.example:{port}/", allow_private=True, network=network).data == b"x"


def test_sixteen_threads_fetch_at_once() -> None:
    got: list[bytes] = []
    with serve(reply(bytes(100_000))) as port:

        def fetch() -> None:
            got.append(net.fetch(f"http://127.0.0.1:{port}/", allow_private=True).data)

        threads = [threading.Thread(target=fetch) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got == [bytes(100_000)] * 16


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified", "403 Forbidden", "404 Not Found", "500 Oops"])
def test_any_status_but_ok_is_an_error_that_names_it(status: str) -> None:
    with serve(reply(status=status)) as port:
        assert f"the server answers {status[:3]}" in failure(f"http://127.0.0.1:{port}/").message


def test_small_gzip_that_was_not_asked_for_is_unpacked_and_other_packing_refused() -> None:
    with serve(reply(gzip.compress(b"picture"), Content_Encoding="gzip")) as port:
        assert net.fetch(f"http://127.0.0.1:{port}/", allow_private=True).data == b"picture"
    with serve(reply(b"picture", Content_Encoding="br")) as port:
        assert "packed as br" in failure(f"http://127.0.0.1:{port}/").message
    with serve(reply(b"not gzip", Content_Encoding="gzip")) as port:
        assert "broke off" in failure(f"http://127.0.0.1:{port}/").message


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)  # fmt: skip
def test_answers_that_break_http_are_one_line(answer: bytes) -> None:
    with serve(lambda connection, _: connection.sendall(answer)) as port:
        failure(f"http://127.0.0.1:{port}/")


def test_a_closed_port_refuses_the_connection() -> None:
    with serve(reply(b"x")) as port:
        pass
    assert "connection was refused" in failure(f"http://127.0.0.1:{port}/").message


def test_an_unknown_host_is_reported_to_be_unknown() -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    assert "no such host" in failure("http://nowhere.example/", network=net.Network(resolve=unknown)).message


def test_tls_is_checked_by_the_name_though_the_address_is_dialled(tmp_path: Path) -> None:
    (tmp_path / "both.pem").write_text(CERTIFICATE)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(tmp_path / "both.pem")
    named: list[str | None] = []
    ours.sni_callback = lambda _, name, __: named.append(name)
    trusting = ssl.create_default_context(cafile=tmp_path / "both.pem")

    with serve(reply(b"x"), tls=ours) as port:
        network = internet(port, tls=lambda: trusting)
        assert net.fetch("https://pictures.example/", allow_private=False, network=network).data == b"x"
        assert "certificate is not valid" in failure("https://other.example/", network=network).message
        assert "certificate is not valid" in failure("https://pictures.example/", network=internet(port)).message
    assert named[:2] == ["pictures.example", "other.example"]


def test_a_url_is_shown_without_credentials_and_query() -> None:
    assert net.redacted_url("https://user:secret@host:81/a/b.png?token=secret#x") == "host:81/a/b.png"
    assert net.redacted_url("http://host/") == "host"
    assert net.redacted_url("http://host/\x1b[2J") == r"host/\x1b[2J"


def test_an_address_that_does_not_answer_takes_its_share_of_the_time_alone() -> None:
    given: list[float] = []

    class Dead(httpcore2.NetworkBackend):
        def connect_tcp(self, host: str, port: int, timeout: float | None = None, **_: Any) -> httpcore2.NetworkStream:
            given.append(timeout or 0.0)
            raise httpcore2.ConnectTimeout

    addresses = ["1.1.1.1", "8.8.8.8", "9.9.9.9"]
    network = net.Network(resolve=lambda host, port: addresses, dial=Dead())
    with pytest.raises(NetworkError):
        net.fetch("http://x.example/", allow_private=False, seconds=90, network=network)
    assert 15 < given[0] <= 30
    assert given[0] < given[1] <= 45
    assert given[1] < given[2] <= 90
