"""Decompresses request bodies."""

import zlib

from pixtral_cli.server.http.errors import ApiError

GZIP, DEFLATE = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS
WBITS = {"gzip": GZIP, "x-gzip": GZIP, "deflate": DEFLATE}


def zlib_wbits(encoding: str) -> int | None:
    """zlib's `wbits` for a Content-Encoding; None for an uncompressed body. Raises ApiError 415 for unknown encodings."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    if name not in WBITS:
        why = "Content-Encoding must be gzip or deflate, or be left out."
        raise ApiError(415, why, code="unsupported_media_type", headers={"Accept-Encoding": "gzip, deflate"})
    return WBITS[name]


def decode(body: bytearray, wbits: int, limit: int) -> bytearray:
    """The decompressed body, of which at most `limit` + 1 bytes are produced. Raises ApiError 400 for invalid data."""
    reader = zlib.decompressobj(wbits)
    try:
        decoded = reader.decompress(body, limit + 1)
    except zlib.error:
        decoded = b""
    if (not reader.eof and len(decoded) <= limit) or reader.unused_data:
        raise ApiError(400, "The body is not what its Content-Encoding says.", code="invalid_encoding")
    return bytearray(decoded)
