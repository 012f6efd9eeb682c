"""Addresses, interfaces and ports of this machine, and whether another machine can be reached."""

import contextlib
import errno
import fcntl
import ipaddress
import secrets
import socket
import struct
import threading
from pathlib import Path

from pixtral_cli.errors import PixtralError, UsageError

SIOCGIFADDR = 0x8915  # ioctl: the IPv4 address of an interface (Linux)
PROBE_TIMEOUT = 4.0  # seconds for a machine that is not behind a firewall to accept a connection
DEFAULT_PORT = 8790


def parse_address(text: str, default_host: str = "") -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `HOST` or `[IPv6]:PORT`. Raises UsageError."""
    host, port = text, ""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        if rest and not rest.startswith(":"):
            raise _address_error(text)
        port = rest[1:]
    elif text.count(":") == 1:
        host, port = text.split(":")
    host = host or default_host
    number = int(port) if port.isascii() and port.isdecimal() else DEFAULT_PORT if not port else 0
    if not host or not 1 <= number <= 65535 or any(letter.isspace() or letter == "/" for letter in host):
        raise _address_error(text)
    return host, number


def _address_error(text: str) -> UsageError:
    return UsageError(f"{text!r} is not HOST:PORT", f"Such as 10.0.0.1:{DEFAULT_PORT}")


def join_address(host: str, port: int) -> str:
    """`HOST:PORT`, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def primary_address() -> str:
    """The address from which this machine reaches others; 127.0.0.1 without a network. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        # An address for documentation (RFC 5737). This looks up the route and sends no packet.
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return next(iter(addresses()), "127.0.0.1")


def addresses() -> list[str]:
    """The IPv4 addresses of this machine's interfaces, the loopback last."""
    ipv4_addresses = [address for _, name in socket.if_nameindex() if (address := _ipv4_of(name))]
    return sorted(ipv4_addresses, key=lambda address: address.startswith("127."))


def interface_of(address: str) -> str:
    """The network interface that has an address; "" when none is ipv4_addresses."""
    for _, name in socket.if_nameindex():
        if address in (_ipv4_of(name), *_ipv6_of(name)):
            return name
    return ""


def _ipv4_of(interface: str) -> str:
    request = struct.pack("256s", interface.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket, contextlib.suppress(OSError):
        return socket.inet_ntoa(fcntl.ioctl(any_socket.fileno(), SIOCGIFADDR, request)[20:24])
    return ""


def _ipv6_of(interface: str) -> list[str]:
    with contextlib.suppress(OSError):
        lines = [line.split() for line in Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()]
        return [str(ipaddress.IPv6Address(int(line[0], 16))) for line in lines if line[-1] == interface]
    return []


def check_free(address: str, port: int) -> None:
    """Raises PixtralError when the port is taken, or the address is not this machine's."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((address, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "is taken by another program" if taken else f"cannot be used: {(error.strerror or '').lower()}"
            hint = "End it, or use other ports: --coordinator HOST:PORT on the first machine"
            raise PixtralError(f"Port {port} on {address} {why}", hint) from error


class ReachabilityProbe:
    """A listener on a free port that sends its `nonce` to every connection, which proves that no firewall blocks it."""

    def __init__(self, address: str) -> None:
        self.nonce = secrets.token_hex(8)
        self._listener = socket.create_server(
            (address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET, backlog=64
        )
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._answer, name="probe", daemon=True).start()

    def _answer(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(PROBE_TIMEOUT)
                    connection.sendall(self.nonce.encode())

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def is_reachable(address: str, port: int, nonce: str) -> bool:
    """Whether this machine can connect to the `ReachabilityProbe` of another one."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), PROBE_TIMEOUT) as connection:
        return connection.recv(64).decode("ascii", "replace") == nonce
    return False
