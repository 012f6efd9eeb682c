"""Decodes the body of a request that was sent compressed."""

import zlib

from pixtral_cli.server.http.errors import ApiError

GZIP, DEFLATE = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS
WINDOW_BITS = {"gzip": GZIP, "x-gzip": GZIP, "deflate": DEFLATE}


def window_bits(encoding: str) -> int | None:
    """What zlib reads a Content-Encoding with; None for a body that is sent as it is. Raises ApiError 415 for others."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in WINDOW_BITS:
        why = "Content-Encoding must be gzip or deflate, or be left out."
        raise ApiError(415, why, code="unsupported_media_type", headers={"Accept-Encoding": "gzip, deflate"})
    return WINDOW_BITS[name]


def decode(body: bytearray, bits: int, limit: int) -> bytearray:
    """The body's bytes, of which more than `limit` are not made. Raises ApiError 400."""
    reader = zlib.decompressobj(bits)
    try:
        decoded = reader.decompress(body, limit + 1)
    except zlib.error:
        decoded = b""
    if (not reader.eof and len(decoded) <= limit) or reader.unused_data:
        raise ApiError(400, "The body is not what its Content-Encoding says.", code="invalid_encoding")
    return bytearray(decoded)
