"""Addresses, interfaces, ports and firewalls of this machine."""

import socket

import pytest

from pixtral_cli.engines.vllm.cluster import network
from pixtral_cli.errors import PixtralError, UsageError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.1:9000", "10.0.0.1", 9000),
        ("gpu-1.lan", "gpu-1.lan", 8790),
        ("[fd00::1]:9000", "fd00::1", 9000),
        ("[fd00::1]", "fd00::1", 8790),
        ("fd00::1", "fd00::1", 8790),
        (":9000", "0.0.0.0", 9000),
        ("", "0.0.0.0", 8790),
    ],
)
def test_an_address_is_read(text: str, host: str, port: int) -> None:
    assert network.parse_address(text, "0.0.0.0") == (host, port)


@pytest.mark.parametrize("text", ["", "host:x", "host:0", "host:70000", "[::1]9", "http://host:1", "a b:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not HOST:PORT"):
        network.parse_address(text)


def test_the_loopback_has_its_interface() -> None:
    assert network.interface_of("127.0.0.1") == "lo"
    assert network.interface_of("192.0.2.7") == ""
    assert network.addresses()[-1].startswith("127.")


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PixtralError, match=f"Port {port} on 127.0.0.1 is taken by another program"):
            network.check_free("127.0.0.1", port)
    network.check_free("127.0.0.1", port)
    with pytest.raises(PixtralError, match="cannot be used"):
        network.check_free("192.0.2.7", port)


def test_a_probe_is_reached_by_its_nonce_alone() -> None:
    probe = network.ReachabilityProbe("127.0.0.1")
    assert network.is_reachable("127.0.0.1", probe.port, probe.nonce)
    assert not network.is_reachable("127.0.0.1", probe.port, "another")
    probe.close()
    assert not network.is_reachable("127.0.0.1", probe.port, probe.nonce)
