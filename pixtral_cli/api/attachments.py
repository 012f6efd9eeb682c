"""The binary request body between a pixtral process and its worker: JSON followed by the bytes of its images.

A body is the length of the JSON (8 bytes, big-endian), the JSON, and the bytes of the images one after another. In the
JSON an image is a URL `attachment:[…]`: offset and length of its bytes, and its metadata. The receiver must trust the
sender: images are not decoded or checked again.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

from pixtral_cli.api.messages import FieldError
from pixtral_cli.images.image import Image
from pixtral_cli.images.transform import Transform

CONTENT_TYPE = "application/vnd.pixtral.request"
SCHEME = "attachment:"
_LENGTH = struct.Struct(">Q")


class Attachments:
    """The images of one request; images with equal bytes are sent once."""

    def __init__(self) -> None:
        self._offsets: dict[str, int] = {}
        self._parts: list[bytes] = []
        self._size = 0

    def url(self, image: Image) -> str:
        """Add an image; returns the URL that stands for it in the JSON."""
        offset = self._offsets.get(image.sha256)
        if offset is None:
            offset = self._offsets[image.sha256] = self._size
            self._parts.append(image.data)
            self._size += len(image.data)
        metadata = [image.name, image.format, image.width, image.height, image.sha256, image.transform.to_json()]
        return SCHEME + json.dumps([offset, len(image.data), *metadata])

    def body(self, request: Mapping[str, Any]) -> bytes:
        """The whole body of a request whose JSON has the images' URLs in it."""
        text = json.dumps(request).encode()
        return b"".join([_LENGTH.pack(len(text)), text, *self._parts])


def split(body: bytearray) -> tuple[bytearray, memoryview]:
    """The JSON of a body and the bytes after it. Raises FieldError for a body that is cut short."""
    if len(body) < _LENGTH.size or len(body) < (end := _LENGTH.size + _LENGTH.unpack_from(body)[0]):
        raise FieldError("", "the body is cut short")
    return body[_LENGTH.size : end], memoryview(body)[end:]


def load(url: str, attached: memoryview) -> Image:
    """The image of a URL made by `Attachments.url`. Raises FieldError for any other URL."""
    try:
        offset, length, name, kind, width, height, sha256, transform = json.loads(url.removeprefix(SCHEME))
        data = bytes(attached[offset : offset + length])
        return Image(data, name, kind, width, height, sha256, Transform.from_json(transform))
    except (ValueError, TypeError, AttributeError) as error:
        raise FieldError("", "an attachment is described wrongly") from error
