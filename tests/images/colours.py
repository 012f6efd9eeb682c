"""Small pictures for tests of what is said about pictures."""

import io

import PIL.Image

from pixtral_cli import images
from pixtral_cli.images.image import Image


def picture(colour: str, name: str = "", kind: str = "PNG") -> Image:
    """8×6 pixels of one colour, checked as any image is."""
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 6), colour).save(buffer, kind)
    return images.from_bytes(buffer.getvalue(), name or f"{colour}.{kind.lower()}")


RED, GREEN, BLUE = picture("red"), picture("green"), picture("blue")
