"""Recognises the format of an image file and checks the limits of its size; other files are refused with what they are."""

import re
import struct
from typing import NoReturn

from pixtral_cli.errors import ImageError
from pixtral_cli.images.headers import HEADER_PARSERS, MAX_PIXELS, Header, MalformedHeader
from pixtral_cli.images.video import MOMENT, VIDEO_EXTENSIONS
from pixtral_cli.util.sanitize import visible

MAX_IMAGE_BYTES = 20_000_000
MAX_MESSAGE = 120
_TO_PNG = "Convert it to PNG or JPEG first."
SAVE_AGAIN = "Save or download it again."
PICTURE_EXTENSIONS = frozenset(("png", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "heic", "heif", "avif", "bmp", "dib", "ico", "jp2", "j2k", "jpf", "jpx", "pbm", "pgm", "pnm", "ppm", "tif", "tiff", "svg", "psd", "pdf"))  # fmt: skip
_PAGES = re.compile(r"#[\d,-]{1,40}$")
_MOMENT_OF_VIDEO = re.compile(rf"(?i)[^/\\. ][^/\\]*\.(?:{'|'.join(VIDEO_EXTENSIONS)}){MOMENT}$")


def refuse(name: str, reason: str, hint: str = "", cause: BaseException | None = None) -> NoReturn:
    """Raise an ImageError `NAME: REASON`, with the name shortened so that the message has at most MAX_MESSAGE characters."""
    raise ImageError(f"{visible(name, max(16, MAX_MESSAGE - 2 - len(reason)))}: {reason}", hint) from cause


def refuse_too_many_bytes(name: str) -> NoReturn:
    refuse(name, f"larger than {MAX_IMAGE_BYTES // 10**6} MB", "Scale it down, or save it as JPEG.")


def read_header(data: bytes, name: str) -> Header:
    """The header of a PNG, JPEG, GIF or WebP within the limits. Raises ImageError for any other file, saying what it is."""
    if len(data) > MAX_IMAGE_BYTES:
        refuse_too_many_bytes(name)
    kind = _format(data) or _refuse_by_content(data, name)
    try:
        header = HEADER_PARSERS[kind](data)
    except (MalformedHeader, IndexError, struct.error) as error:
        refuse(
            name,
            str(error) if isinstance(error, MalformedHeader) else f"this {display_name(kind)} is cut short",
            SAVE_AGAIN,
            error,
        )
    check_size(header.width, header.height, name)
    return header


def display_name(kind: str) -> str:
    """The usual name of a format that is given by Pillow's name."""
    return {"WEBP": "WebP", "HEIF": "HEIC", "JPEG2000": "JPEG 2000", "PPM": "PNM file", "ICO": "icon"}.get(kind, kind)


def check_size(width: int, height: int, name: str) -> None:
    """Raises ImageError for more than MAX_PIXELS, with the dimensions."""
    if width * height > MAX_PIXELS:
        size_text = f"{width} × {height} pixels ({width * height / 1e6:.1f} megapixels)"
        refuse(name, f"{size_text}, the limit is {MAX_PIXELS / 1e6:.1f}", "Scale it down or cut out the part you need.")


def _format(data: bytes) -> str:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    return ""


def is_picture(data: bytes) -> bool:
    """Whether the first bytes are those of one of the four common formats."""
    return bool(_format(data))


def rare_format(data: bytes) -> str:
    """Pillow's name of a format beyond the four common ones, or "PDF"; "" for any other file."""
    if _format(data):
        return ""
    from pixtral_cli.images import rare_formats

    return rare_formats.detect_format(data)


_OTHER_FORMATS = (
    (rb"II[*+]\x00|MM\x00[*+]", "a TIFF file"),
    (rb"BM....\x00\x00\x00\x00", "a BMP file"),
    (rb"8BPS", "a Photoshop (PSD) file"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "an EPS or PostScript file"),
    (rb"SIMPLE  =", "a FITS file"),
    (rb"%PDF-", "a PDF"),
    (rb"\x00\x00[\x01\x02]\x00", "an icon (ICO)"),
    (rb"....ftypavi[fs]", "an AVIF file"),
    (rb"....ftyp(hei[cxms]|hev[cx]|mif1|msf1)", "a HEIC file"),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "a JPEG XL file"),
    (rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 file"),
    (rb"....ftyp|\x1aE\xdf\xa3", "a video"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "an archive"),
)


def _refuse_by_content(data: bytes, name: str) -> NoReturn:
    """Raise the ImageError for a file that is no picture, saying what it is if that can be recognised."""
    start = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not data:
        refuse(name, "the file is empty (0 bytes)", SAVE_AGAIN)
    if start.startswith(b"version https://git-lfs"):
        refuse(name, "a Git LFS pointer, not the picture itself", "Run `git lfs pull` in its repository.")
    if re.match(rb"(<\?xml|<!--|<!doctype svg|<svg)", start) and b"<svg" in data[:65536].lower():
        refuse(name, "an SVG drawing; only pixels can be read", "Export it as PNG and send that.")
    if re.match(rb"<(!doctype html|html|head|body|script)", start) or b"<html" in start:
        refuse(
            name, "looks like HTML, not a picture (a login or error page?)", "Open it in a browser and save the image."
        )
    for pattern, description in _OTHER_FORMATS:
        if re.match(pattern, data, re.DOTALL):
            refuse(name, f"{description}; PNG, JPEG, WebP and GIF are read", _TO_PNG)
    if _is_text(data[:1024]):
        refuse(name, "looks like text, not a picture", "Name a PNG, JPEG, WebP or GIF file.")
    refuse(name, "not a PNG, JPEG, WebP or GIF", _TO_PNG)


def _is_text(start: bytes) -> bool:
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        return error.start > 1020  # only the last character is cut
    return not re.search(r"[\0-\x08\x0e-\x1f]", text)


def has_picture_extension(name: str) -> bool:
    """Whether a name ends like a picture's (`report.pdf#2-4`, `clip.mp4#t=3` too). Says nothing of what is in the file."""
    if "#t=" in name[-40:].lower() and _MOMENT_OF_VIDEO.search(name[-300:]):
        return True
    stem, _, extension = _PAGES.sub("", name[-300:]).rpartition(".")
    return extension.lower() in PICTURE_EXTENSIONS and stem[-1:].strip("/\\. ") != ""
