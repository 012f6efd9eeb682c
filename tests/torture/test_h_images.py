"""Torture H: a picture whose header says another size than its pixels have."""

import io
import struct

import pytest
from PIL import Image as PILImage

from pixtral_cli import images
from pixtral_cli.errors import ImageError

pillow_heif = pytest.importorskip("pillow_heif", reason="there is no wheel of pillow-heif for this machine")


def heic(width: int, height: int) -> bytes:
    pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    PILImage.effect_noise((width, height), 60).convert("RGB").save(buffer, "HEIF")
    return buffer.getvalue()


def saying(data: bytes, width: int, height: int) -> bytes:
    """The file with another size in each of its `ispe` boxes."""
    changed, at = bytearray(data), data.find(b"ispe")
    while at >= 0:
        changed[at + 8 : at + 16] = struct.pack(">II", width, height)
        at = data.find(b"ispe", at + 4)
    return bytes(changed)


@pytest.mark.parametrize("size", [(64, 48), (641, 480), (480, 640), (6400, 4800), (65_000, 1_000), (1, 1), (0, 0), (2**32 - 1, 2**32 - 1)])  # fmt: skip
def test_a_heic_that_lies_about_its_size_is_refused_in_one_line(size: tuple[int, int]) -> None:
    data = heic(640, 480)
    assert images.from_bytes(data, "x.heic", all_formats=True).size == (640, 480)
    with pytest.raises(ImageError) as caught:
        images.from_bytes(saying(data, *size), "x.heic", all_formats=True)
    assert caught.value.status == 3
    assert caught.value.message.startswith("x.heic: ")
    assert len(caught.value.message) <= 120
