"""The process in which pictures of rarer formats, pages of PDFs and frames of videos are decoded: `python -m pixtral_cli.images.converter`.

An order as JSON is its argument, the file's bytes come on stdin or from the path that is named. What it writes to
stdout is, for each page, a line of JSON and then as many bytes of PNG or JPEG as that says. Its memory and its time are
limited, and whatever a decoder does here happens to this process alone. Started by `images.isolated`.
"""

import contextlib
import io
import json
import sys
from collections.abc import Iterator
from typing import Any

from pixtral_cli.errors import ImageError

ADDRESS_SPACE_LIMIT = 3 << 30  # bytes of addresses
SECONDS = 60  # of computing
SIDE = 2048  # pixels of a PDF page's longer side: twice what is sent, so that a crop reads small print
VIDEO = "video"
LOSSY = ("AVIF", "HEIF", VIDEO)  # what was compressed with losses becomes a JPEG, all else a PNG
HEAVY = 19_000_000  # bytes of a PNG from which on a JPEG is written


def main() -> None:
    order = json.loads(sys.argv[1])
    limit()
    try:
        data = sys.stdin.buffer.read()
        for name, picture in _pictures(order, data):
            encoded, kind = encode(picture, lossy=order["kind"] in LOSSY)
            _write({"name": name, "kind": kind, "size": len(encoded)}, encoded)
    except ModuleNotFoundError as error:
        _write({"error": "missing", "what": error.name or ""})
    except MemoryError:
        _write({"error": "memory"})
    except Refused as error:
        _write({"error": "refused", "what": str(error)})
    except ImageError as error:
        _write({"error": "image", "what": error.message, "hint": error.hint})
    except Exception as error:
        _write({"error": "damaged", "what": f"{type(error).__name__}: {error}"[:200]})


def limit() -> None:
    """Bound this process: what a decoder asks for beyond it fails."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_LIMIT, ADDRESS_SPACE_LIMIT))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Refused(Exception):
    """A picture that is whole and cannot be shown as it is meant."""


def _write(head: dict[str, Any], body: bytes = b"") -> None:
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + body)
    sys.stdout.buffer.flush()


def _pictures(order: dict[str, Any], data: bytes) -> Iterator[tuple[str, Any]]:
    if order["kind"] == "PDF":
        yield from _pages(order, data)
    elif order["kind"] == VIDEO:
        from pixtral_cli.images import video

        yield "", video.frame(order["path"], order["seconds"], order["name"])
    else:
        yield "", picture(data, order["kind"], order["page"])


def picture(data: bytes, kind: str, page: int) -> Any:
    """One picture of a file, upright and on white, in 8 bits of sRGB or grey."""
    from PIL import Image, ImageOps

    from pixtral_cli.images.colour import to_srgb

    Image.MAX_IMAGE_PIXELS = None  # sizes were judged before
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
    promised = image.size
    image.load()
    if image.size != promised:
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
    """Grey of 16 bits in 8; other numbers have no scale that everybody means. Raises Refused."""
    if image.mode.startswith("I;16"):
        return image.convert("I").point([(value + 128) // 257 for value in range(65536)], "L")
    if image.mode == "I":
        low, high = image.getextrema()
        if low < 0 or high > 65535:
            raise Refused("its pixels have 32 bits")
        return image.point([(value + 128) // 257 for value in range(65536)], "L")
    if image.mode == "F":
        raise Refused("its pixels are fractions without a stated black and white")
    return image


def encode(picture: Any, *, lossy: bool) -> tuple[bytes, str]:
    """The picture as a file, and the file's format: PNG, or JPEG where that is as good or a PNG would be too heavy."""
    picture.info = {}
    if not lossy:
        out = io.BytesIO()
        picture.save(out, "PNG", compress_level=3)
        if out.tell() <= HEAVY:
            return out.getvalue(), "PNG"
    for quality in (95, 85, 70):
        out = io.BytesIO()
        picture.convert("RGB").save(out, "JPEG", quality=quality, subsampling=0)
        if out.tell() <= HEAVY:
            break
    return out.getvalue(), "JPEG"


def _pages(order: dict[str, Any], data: bytes) -> Iterator[tuple[str, Any]]:
    """The chosen pages of a PDF, rendered by pdfium; the first line says how many there are."""
    from pypdfium2 import PdfDocument, PdfiumError

    from pixtral_cli.images.pages import page_numbers

    try:
        document = PdfDocument(order["path"] or data)
    except PdfiumError as error:
        raise Refused(
            "it needs a password" if "password" in str(error).lower() else "it is not a PDF or is damaged"
        ) from error
    _write({"pages": len(document)})
    for number in page_numbers(order["pages"], len(document), order["name"]):
        page = document[number - 1]
        width, height = page.get_size()
        rendered = page.render(scale=SIDE / max(width, height, 1)).to_pil().convert("RGB")
        yield f"#{number}", rendered
        page.close()


if __name__ == "__main__":
    main()
