"""The process that decodes rarer image formats, pages of PDFs and frames of videos.

It is run as `python -m pixtral_cli.images.converter REQUEST` by `images.isolated`. REQUEST is JSON; the file is read
from stdin or from the path in the request. For each picture it writes a line of JSON to stdout, then a PNG or JPEG of
the size that the line states. Memory and CPU time are limited, and a decoder that crashes ends this process only.
"""

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from typing import Any

from pixtral_cli.errors import ImageError

ADDRESS_SPACE_LIMIT = 3 << 30  # bytes
CPU_SECONDS_LIMIT = 60
PDF_PAGE_SIDE = 2048  # pixels of a page's longer side: twice what is sent, so that crops of small print are legible
VIDEO = "video"
LOSSY_FORMATS = ("AVIF", "HEIF", VIDEO)  # are written as JPEG, all others as PNG
MAX_PNG_BYTES = 19_000_000  # a picture with a larger PNG is written as JPEG


def main() -> None:
    request = json.loads(sys.argv[1])
    set_process_limits()
    try:
        data = sys.stdin.buffer.read()
        for name, picture in _pictures(request, data):
            encoded, kind = encode(picture, lossy=request["kind"] in LOSSY_FORMATS)
            _write({"name": name, "kind": kind, "size": len(encoded)}, encoded)
    except ModuleNotFoundError as error:
        _write({"error": "missing", "what": error.name or ""})
    except MemoryError:
        _write({"error": "memory"})
    except UnsupportedImage as error:
        _write({"error": "refused", "what": str(error)})
    except ImageError as error:
        _write({"error": "image", "what": error.message, "hint": error.hint})
    except Exception as error:
        _write({"error": "damaged", "what": f"{type(error).__name__}: {error}"[:200]})


def set_process_limits() -> None:
    """Limit memory and CPU time of this process."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # not supported on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_LIMIT, ADDRESS_SPACE_LIMIT))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS_LIMIT, CPU_SECONDS_LIMIT))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class UnsupportedImage(Exception):
    """A valid file that cannot be converted; the message is the end of "cannot be read: …"."""


def _write(header: dict[str, Any], body: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(header).encode() + b"\n" + body)
    sys.stdout.buffer.flush()


def _pictures(request: dict[str, Any], data: bytes) -> Iterator[tuple[str, Any]]:
    if request["kind"] == "PDF":
        yield from _pages(request, data)
    elif request["kind"] == VIDEO:
        from pixtral_cli.images import video

        yield "", video.frame(request["path"], request["seconds"], request["name"])
    else:
        yield "", decode_picture(data, request["kind"], request["page"])


def decode_picture(data: bytes, kind: str, page: int) -> Any:
    """Page `page` (from 1) of a file: upright, on a white background, in 8-bit sRGB or grey."""
    from PIL import Image, ImageOps

    from pixtral_cli.images.colour import to_srgb

    Image.MAX_IMAGE_PIXELS = None  # the size was checked before
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    elif kind == "AVIF":
        import PIL.AvifImagePlugin
    elif kind == "JPEG2000":
        import PIL.Jpeg2KImagePlugin  # noqa: F401
    else:
        Image.preinit()
        Image.init()
    image: Any = Image.open(io.BytesIO(data), formats=(kind,))
    if page > 1:
        image.seek(page - 1)
    declared = image.size
    image.load()
    if image.size != declared:
        raise ValueError("the decoder gives another size than the header")
    profile = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    image = eight_bits(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", image.size, "white")
        image.paste(rgba, mask=rgba)
    elif image.mode == "P":
        image = image.convert("RGB")
    image.info["icc_profile"] = profile
    image = to_srgb(image)
    return image if image.mode in ("1", "L", "RGB") else image.convert("RGB")


def eight_bits(image: Any) -> Any:
    """16-bit grey as 8-bit grey. Raises UnsupportedImage for other pixels, which have no defined range."""
    if image.mode.startswith("I;16"):
        return image.convert("I").point([(value + 128) // 257 for value in range(65536)], "L")
    if image.mode == "I":
        low, high = image.getextrema()
        if low < 0 or high > 65535:
            raise UnsupportedImage("its pixels have 32 bits")
        return image.point([(value + 128) // 257 for value in range(65536)], "L")
    if image.mode == "F":
        raise UnsupportedImage("its pixels are fractions without a stated black and white")
    return image


def encode(picture: Any, *, lossy: bool) -> tuple[bytes, str]:
    """The encoded picture and its format: JPEG if the source was `lossy` or the PNG would be too large, else PNG."""
    picture.info = {}
    if not lossy:
        out = io.BytesIO()
        picture.save(out, "PNG", compress_level=3)
        if out.tell() <= MAX_PNG_BYTES:
            return out.getvalue(), "PNG"
    for quality in (95, 85, 70):
        out = io.BytesIO()
        picture.convert("RGB").save(out, "JPEG", quality=quality, subsampling=0)
        if out.tell() <= MAX_PNG_BYTES:
            break
    return out.getvalue(), "JPEG"


def _pages(request: dict[str, Any], data: bytes) -> Iterator[tuple[str, Any]]:
    """The requested pages of a PDF, rendered by pdfium; first writes a line with the number of pages."""
    from pypdfium2 import PdfDocument, PdfiumError

    from pixtral_cli.images.pages import page_numbers

    try:
        document = PdfDocument(request["path"] or data)
    except PdfiumError as error:
        raise UnsupportedImage(
            "it needs a password" if "password" in str(error).lower() else "it is not a PDF or is damaged"
        ) from error
    _write({"pages": len(document)})
    for number in page_numbers(request["pages"], len(document), request["name"]):
        page = document[number - 1]
        width, height = page.get_size()
        rendered = page.render(scale=PDF_PAGE_SIDE / max(width, height, 1)).to_pil().convert("RGB")
        yield f"#{number}", rendered
        page.close()


if __name__ == "__main__":
    main()
