"""Decodes checked bytes to upright RGB pixels, with Pillow. The limits of size are checked in `formats`."""

import io
import struct
import zlib
from contextlib import nullcontext
from threading import Lock
from typing import TYPE_CHECKING

from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from pixtral_cli import compat
from pixtral_cli.images.colour import to_srgb
from pixtral_cli.images.headers import JPEG_END
from pixtral_cli.images.transform import Box, Transform, size_in_patches
from pixtral_cli.util.lru import LruCache

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

compat.set_pillow_limits()
CACHE_BYTES = 64_000_000
_decoded: LruCache[tuple[str, int, int], "PILImage"] = LruCache(CACHE_BYTES)  # by SHA-256 and stored size
_large_decode_lock = Lock()

# What Pillow raises on damaged files.
DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, struct.error, zlib.error,
    Pillow.DecompressionBombError,
)  # fmt: skip

_EXIF_TRANSPOSES = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
_CLOCKWISE = {90: _EXIF_TRANSPOSES[6], 180: _EXIF_TRANSPOSES[3], 270: _EXIF_TRANSPOSES[8]}
_GREY_STEPS = {"L;2": 85, "L;4": 17}  # Pillow scales such pixels to 0–255, but not their transparent value


def stored_size(data: bytes, kind: str) -> tuple[int, int]:
    """Width and height by Pillow's reading of the header, before EXIF turns the picture. Decodes nothing."""
    return _open(data, kind).size


def check_decodable(data: bytes, kind: str, sha256: str) -> tuple[int, int]:
    """Decode once, which raises one of `DECODE_ERRORS` if it cannot be done. Returns width and height, upright.

    The pixels are cached for `pixels` unless they take more than `CACHE_BYTES`.
    """
    image = _open(data, kind)
    upright = _upright_size(image)
    _reduce(image, size_in_patches(upright))
    if _memory(image) <= CACHE_BYTES:
        size = image.size
        _decoded.put((sha256, *size), _upright(image), _memory(image))
    else:
        _load(image)
    return upright


def pixels(
    data: bytes, kind: str, sha256: str, transform: Transform, at_least: tuple[int, int] | None = None
) -> "PILImage":
    """Upright RGB, transformed. Without a crop, a JPEG is decoded at 1/2, 1/4 or 1/8 where that is `at_least` so large."""
    image = _open(data, kind)
    crop = transform.source(_upright_size(image))
    if at_least and not crop:
        _reduce(image, transform.turned_size(at_least))
    if cached := _decoded.get((sha256, *image.size)):
        upright = cached.crop(crop.edges) if crop else cached.copy()
    else:
        upright = _upright(image, crop)
    return upright.transpose(_CLOCKWISE[transform.rotate]) if transform.rotate else upright


def is_complete_jpeg(data: bytes) -> bool:
    """Whether a baseline JPEG that lacks its end marker lacks nothing else.

    Its decoder fills what is missing from whatever follows: where two fillings give the same picture, nothing was.
    """
    body = data.rstrip(b"\xff")
    return len({_open(body + filling * 8192 + JPEG_END, "JPEG").tobytes() for filling in (b"\x00", b"\x5a")}) == 1


def _open(data: bytes, kind: str) -> "PILImage":
    """Pillow's lazy image. The plugins it would not load by itself are imported by name: it would search them all."""
    if kind == "WEBP":
        import PIL.WebPImagePlugin  # noqa: F401
    elif kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    return Pillow.open(io.BytesIO(data), formats=(kind,))


def _upright_size(image: "PILImage") -> tuple[int, int]:
    return image.size[::-1] if _orientation(image) >= 5 else image.size


def _reduce(image: "PILImage", at_least: tuple[int, int]) -> None:
    """Tell a JPEG's decoder to scale down, never below `at_least` (upright)."""
    if image.format not in ("JPEG", "MPO"):  # for HEIC it would take the thumbnail, which may show something else
        return
    width, height = (max(1, side) for side in at_least)
    image.draft(None, (height, width) if _orientation(image) >= 5 else (width, height))


def _upright(image: "PILImage", crop: Box | None = None) -> "PILImage":
    """Decode, cut, convert, turn: in this order each step works on as few pixels as it can."""
    raw = _raw_mode(image)
    _load(image)
    turn = _orientation(image)
    if crop:
        image = image.crop(_stored_box(crop, turn, image.size))
    rgb = _rgb(image, raw)
    result = rgb.transpose(_EXIF_TRANSPOSES[turn]) if turn in _EXIF_TRANSPOSES else rgb
    if isinstance(result, ImageFile):
        result = result.copy()  # without the file and the decoder's buffers
    result.info = {}  # what is sent or saved holds no place, time or profile
    return result


def _load(image: "PILImage") -> None:
    """Decode; pictures too large to keep one at a time, since each may take a gigabyte (WebP)."""
    declared = image.size
    with _large_decode_lock if _memory(image) > CACHE_BYTES else nullcontext():
        image.load()
    if image.size != declared:  # seen in damaged HEIC
        raise ValueError("the decoder gives another size than the header")


def _raw_mode(image: "PILImage") -> str:
    """Pillow's name of the pixel format in the file, such as "RGB;16B"."""
    tiles = getattr(image, "tile", ())
    args = tiles[0][3] if tiles else ""
    return args if isinstance(args, str) else ""


def _rgb(image: "PILImage", raw: str) -> "PILImage":
    """RGB on a white ground."""
    transparent = image.info.get("transparency")
    if image.mode.startswith("I"):
        return _from_grey16(image, transparent)
    if raw == "RGB;16B" and transparent is not None:
        raise ValueError("a transparent colour of 16 bits, which Pillow compares with 8")
    if raw in _GREY_STEPS and isinstance(transparent, int):
        image.info["transparency"] = transparent * _GREY_STEPS[raw]
    if not image.has_transparency_data:
        image = to_srgb(image.convert("RGB") if image.mode == "P" else image)
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    ground = Pillow.new("RGB", image.size, "white")
    ground.paste(rgba, mask=rgba)
    ground.info["icc_profile"] = image.info.get("icc_profile")
    return to_srgb(ground)


def _from_grey16(image: "PILImage", transparent: int | None) -> "PILImage":
    """16-bit grey to 8 by a table; the transparent value becomes white in the same pass."""
    table = [(value + 128) // 257 for value in range(65536)]
    if transparent is not None:
        table[transparent] = 255
    return image.convert("I").point(table, "L").convert("RGB")


def _orientation(image: "PILImage") -> int:
    """EXIF orientation 1–8 from the first directory; whatever is missing or malformed counts as upright."""
    exif = image.info.get("exif") or b""
    tiff = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4], "")
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == 0x0112 and order:
                return value if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _stored_box(box: Box, turn: int, stored: tuple[int, int]) -> tuple[int, int, int, int]:
    """An upright box in the coordinates of the picture as stored: left, top, right, bottom."""
    left, top, right, bottom = box.edges
    width, height = stored
    if turn >= 5:
        left, top, right, bottom = top, left, bottom, right
    if turn in (2, 3, 7, 8):
        left, right = width - right, width - left
    if turn in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def clear_cache() -> None:
    """Drop every decoded picture."""
    _decoded.clear()


def cached_bytes() -> int:
    """The memory that decoded pictures take."""
    return _decoded.size


def _memory(picture: "PILImage") -> int:
    """Bytes of a picture's pixels once decoded: Pillow gives an RGB pixel four bytes."""
    return 4 * picture.width * picture.height
