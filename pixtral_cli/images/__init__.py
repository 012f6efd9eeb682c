"""Images: loads files, URLs and bytes as checked, upright `Image`s."""

from pixtral_cli.images.image import Image, from_bytes, from_stdin, is_url, load, load_all

__all__ = ["Image", "from_bytes", "from_stdin", "is_url", "load", "load_all"]
