"""Tells public network addresses from private ones, and connects only to addresses that were checked."""

import ipaddress
import ssl
from collections.abc import Callable
from typing import Any

import httpcore2


def is_public(address: str) -> bool:
    """Whether an address is on the public internet; for an IPv6 address with an embedded IPv4 address, whether that is."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped or ip in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip not in _GLOBAL_UNICAST:
            return False
    return not any(ip in network for network in _SPECIAL)


def is_this_machine(host: str) -> bool:
    """Whether a host of a URL is this machine by its name or its address; no other name is looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# IANA's registries of special-purpose addresses (the standard library's differ by version), and the public address of
# Azure's internal services, which hand out secrets. 2001::/23 contains Teredo, 2002::/16 is 6to4.
# fmt: off
_SPECIAL = [ipaddress.ip_network(network) for network in (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/3", "168.63.129.16/32", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)]
# fmt: on


class PinnedBackend(httpcore2.NetworkBackend):
    """Connects to the given addresses only, trying one after another, within the time that `seconds_left` returns."""

    def __init__(self, addresses: list[str], dial: httpcore2.NetworkBackend, seconds_left: Callable[[], float]) -> None:
        self._addresses, self._dial, self._seconds_left = addresses, dial, seconds_left

    def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore2.NetworkStream:
        for addresses_left, address in zip(range(len(self._addresses), 0, -1), self._addresses, strict=True):
            try:
                return _DeadlineStream(
                    self._dial.connect_tcp(address, port, timeout=self._seconds_left() / addresses_left),
                    self._seconds_left,
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if addresses_left == 1:
                    raise
        raise httpcore2.ConnectError


class _DeadlineStream(httpcore2.NetworkStream):
    """A stream whose operations share one deadline."""

    def __init__(self, stream: httpcore2.NetworkStream, seconds_left: Callable[[], float]) -> None:
        self._stream, self._seconds_left = stream, seconds_left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._seconds_left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._seconds_left())

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _DeadlineStream(
            self._stream.start_tls(ssl_context, server_hostname, self._seconds_left()), self._seconds_left
        )

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
