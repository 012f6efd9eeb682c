"""Images: bytes from anywhere become one checked, upright `Image`."""

from pixtral_cli.images.image import Image, from_bytes, from_stdin, is_url, load

__all__ = ["Image", "from_bytes", "from_stdin", "is_url", "load"]
