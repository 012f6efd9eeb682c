"""Downloads URLs within limits of size and time, protected against server-side request forgery.

The host name of each hop is resolved once, all its addresses are checked, and only those are connected to, so that a name
cannot resolve to another address after the check (DNS rebinding). TLS and the Host header use the name. Proxies of the
environment are not used, since a proxy would resolve the name again. Redirects are followed here.

`allow_private` allows private addresses for the first hop, and for further hops as long as all before were private: a
public server cannot redirect to a private one.
"""

import functools
import re
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NoReturn
from urllib.parse import quote, urljoin, urlsplit

import httpcore2

from pixtral_cli import __version__
from pixtral_cli.errors import ImageError, NetworkError
from pixtral_cli.util.addresses import PinnedBackend, is_public
from pixtral_cli.util.sanitize import visible

MAX_DOWNLOAD_BYTES = 20_000_000
MAX_SECONDS = 15.0
MAX_REDIRECTS = 3
_SAVE_HINT = "Save the picture with a browser and give the file."
_HEADERS = [
    ("User-Agent", f"pixtral/{__version__}"),
    ("Accept", "image/png, image/jpeg, image/webp, image/gif, */*;q=0.1"),  # and not AVIF, which servers would prefer
    ("Accept-Encoding", "identity"),
    ("Connection", "close"),
]


@dataclass(frozen=True, slots=True)
class Download:
    """A body, its Content-Type, and the URL after redirects."""

    data: bytes = field(repr=False)
    content_type: str
    url: str


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name by the system's resolver, which also accepts numbers such as 2130706433."""
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


@functools.cache
def _tls() -> ssl.SSLContext:
    return httpcore2.default_ssl_context()


@dataclass(frozen=True, slots=True)
class Network:
    """The access to network and clock that `fetch` uses; tests replace it."""

    resolve: Callable[[str, int], list[str]] = resolve
    dial: httpcore2.NetworkBackend = field(default_factory=httpcore2.SyncBackend)
    tls: Callable[[], ssl.SSLContext] = _tls
    clock: Callable[[], float] = time.monotonic


def fetch(
    url: str,
    *,
    allow_private: bool,
    limit: int = MAX_DOWNLOAD_BYTES,
    seconds: float = MAX_SECONDS,
    network: Network | None = None,
) -> Download:
    """GET a URL: at most `limit` bytes, `seconds` in total and MAX_REDIRECTS redirects. Thread-safe.

    Raises NetworkError, and ImageError for a body that decompresses to more than `limit`.
    """
    network = network or Network()
    seconds_left = _deadline(seconds, network.clock)
    with _translated_errors(url, seconds):
        return _follow_redirects(url, allow_private, limit, network, seconds_left)


def _follow_redirects(
    url: str, private_allowed: bool, limit: int, network: Network, seconds_left: Callable[[], float]
) -> Download:
    """For each hop: parse the URL, resolve the name, check the addresses, send the request; until there is a body."""
    hop = 0
    while True:
        target = _parse(url)
        addresses = _resolve_in_time(target, network, seconds_left())
        _refuse_private(target, addresses, private_allowed, redirected=hop > 0)
        private_allowed = private_allowed and not any(map(is_public, addresses))
        result = _get(target, PinnedBackend(addresses, network.dial, seconds_left), network, limit)
        if isinstance(result, Download):
            return result
        url, hop = result, hop + 1
        if hop > MAX_REDIRECTS:
            _fail(url, f"more than {MAX_REDIRECTS} redirects", _SAVE_HINT)


def redacted_url(url: str) -> str:
    """A URL as messages show it: host and path, without credentials and query, which may be secret."""
    host, slash, path = url.partition("://")[2].partition("?")[0].partition("#")[0].partition("/")
    return visible(host.rpartition("@")[2] + (slash + path if path else ""))


@dataclass(frozen=True, slots=True)
class _Target:
    """A parsed URL, from which all that is checked, connected to and sent is taken."""

    scheme: str
    host: str
    port: int
    path: str
    url: str

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


_PORTS = {"http": 80, "https": 443}
_SENT_AS_IS = "/%:@!$&'()*+,;=~?[]"


def _parse(url: str) -> _Target:
    if re.search(r"[\0-\x20\x7f\\]", url):
        _fail(url, "a backslash, space or control character in the URL", "Percent-encode it.")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
        host = host if ":" in host else host.encode("idna").decode("ascii")
    except ValueError as error:
        _fail(url, "not a valid URL", "", error)
    if parts.scheme not in _PORTS:
        _fail(url, f"{visible(parts.scheme, 20)}:// is not followed, only http and https")
    if "@" in parts.netloc:
        _fail(url, "user names and passwords in URLs are not sent", _SAVE_HINT)
    if not re.fullmatch(r"[\w.-]+|[0-9a-fA-F:.]+(%[\w.-]+)?", host, re.ASCII) or port == 0:
        shown = visible(url.partition("?")[0], 60)  # whole: of `http://` nothing else is left to name
        raise NetworkError(f"{shown}: not a valid host in the URL", "Such as https://example.org/photo.jpg")
    path = quote(parts.path or "/", safe=_SENT_AS_IS) + (
        f"?{quote(parts.query, safe=_SENT_AS_IS)}" if parts.query else ""
    )
    return _Target(parts.scheme, host, port or _PORTS[parts.scheme], path, url)


def _resolve_in_time(target: _Target, network: Network, seconds: float) -> list[str]:
    """Resolve the name in a thread of its own, since the system's resolver has no timeout."""
    results: SimpleQueue[list[str] | OSError] = SimpleQueue()

    def look_up() -> None:
        try:
            results.put(network.resolve(target.host, target.port))
        except OSError as error:
            results.put(error)

    Thread(target=look_up, name="resolve", daemon=True).start()
    try:
        result = results.get(timeout=seconds)
    except Empty as error:
        raise httpcore2.ConnectTimeout from error
    if isinstance(result, OSError) or not result:
        cause = result if isinstance(result, OSError) else None
        _fail(target.url, "no such host", "Check the name and your connection.", cause)
    return result


def _refuse_private(target: _Target, addresses: list[str], allowed: bool, *, redirected: bool) -> None:
    if allowed or all(map(is_public, addresses)):
        return
    if redirected:
        _fail(target.url, "a public address redirects to this private one", _SAVE_HINT)
    _fail(target.url, "a private address", "Allow it with --allow-private if you trust where the URL comes from.")


def _get(target: _Target, dial: httpcore2.NetworkBackend, network: Network, limit: int) -> Download | str:
    """Send one request; returns the download, or the URL that it redirects to."""
    context = network.tls() if target.scheme == "https" else None
    url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    headers = [("Host", target.host_header), *_HEADERS]
    with (
        httpcore2.ConnectionPool(ssl_context=context, network_backend=dial) as pool,
        pool.stream("GET", url, headers=headers) as response,
    ):
        fields = {name.lower().decode("latin-1"): _decode_header(value) for name, value in response.headers}
        if response.status in (301, 302, 303, 307, 308) and "location" in fields:
            return _redirect_url(target, fields["location"])
        _check_status(target, response.status)
        body = _read_body(target, response.iter_stream(), fields, limit)
        return Download(body, fields.get("content-type", ""), target.url)


def _redirect_url(target: _Target, location: str) -> str:
    """The absolute URL of a redirect. Spaces are accepted, as browsers do."""
    try:
        return urljoin(target.url, location.strip().replace(" ", "%20"))
    except ValueError as error:
        _fail(target.url, "redirects to something that is not a URL", _SAVE_HINT, error)


def _decode_header(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _check_status(target: _Target, status: int) -> None:
    if status in (200, 203):
        return
    hint = {401: _SAVE_HINT, 403: _SAVE_HINT, 404: "Check the address.", 410: "Check the address."}
    _fail(target.url, f"the server answers {status}", hint.get(status, "Try again later."))


def _read_body(target: _Target, chunks: Iterable[bytes], fields: dict[str, str], limit: int) -> bytes:
    """Read the body within the limit, before and after decompression."""
    decompress = _decompressor(target, fields.get("content-encoding", ""))
    body, received = bytearray(), 0
    if int(fields.get("content-length", "0")) > limit:
        _too_large(target, limit)
    for chunk in chunks:
        received += len(chunk)
        if received > limit:
            _too_large(target, limit)
        body += decompress(chunk, limit + 1 - len(body))
        if len(body) > limit:
            message = f"{visible(redacted_url(target.url), 80)}: unpacks to more than {_size(limit)}"
            raise ImageError(message, "A picture needs no compression around it: this may be an attack.")
    return bytes(body)


def _decompressor(target: _Target, encoding: str) -> Callable[[bytes, int], bytes]:
    """A function that decompresses a chunk, for servers that compress unasked, to at most the given number of bytes."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return lambda chunk, max_length: chunk
    if encoding not in ("gzip", "x-gzip", "deflate"):
        _fail(target.url, f"packed as {visible(encoding, 20)}, which was not asked for", _SAVE_HINT)
    return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress


def _too_large(target: _Target, limit: int) -> NoReturn:
    _fail(target.url, f"larger than {_size(limit)}", "Scale it down and give the file.")


def _size(limit: int) -> str:
    return f"{limit / 1e6:g} MB"


def _fail(url: str, reason: str, hint: str = "", cause: BaseException | None = None) -> NoReturn:
    raise NetworkError(f"{visible(redacted_url(url), max(16, 118 - len(reason)))}: {reason}", hint) from cause


@contextmanager
def _translated_errors(url: str, seconds: float) -> Iterator[None]:
    """Turns the HTTP library's exceptions into NetworkError."""
    try:
        yield
    except httpcore2.TimeoutException as error:
        _fail(url, f"not complete after {seconds:g} s", f"Try again. {_SAVE_HINT}", error)
    except httpcore2.ConnectError as error:
        cause = error.args[0] if error.args else None  # the library cuts the chain but keeps the cause as argument
        if isinstance(cause, ssl.SSLCertVerificationError):
            _fail(url, "its certificate is not valid", "Check the name, and this machine's clock.", error)
        refused = isinstance(cause, ConnectionRefusedError)
        _fail(url, "the connection was refused" if refused else "cannot be reached", "Is the server up?", error)
    except (httpcore2.NetworkError, httpcore2.ProtocolError, zlib.error) as error:
        _fail(url, "the answer broke off or is not HTTP", "Try again.", error)


def _deadline(seconds: float, clock: Callable[[], float]) -> Callable[[], float]:
    """A function that returns the seconds left and raises ReadTimeout when there are none."""
    end = clock() + seconds

    def seconds_left() -> float:
        if (remaining := end - clock()) <= 0:
            raise httpcore2.ReadTimeout
        return remaining

    return seconds_left
