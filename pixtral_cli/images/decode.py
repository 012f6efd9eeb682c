"""Decodes checked image files to upright RGB pixels, by Pillow. The size is checked before, in `formats`."""

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

# The exceptions that Pillow raises for damaged files.
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
    """Width and height in the header as Pillow reads it, before the EXIF orientation is applied. Decodes nothing."""
    return _open(data, kind).size


def check_decodable(data: bytes, kind: str, sha256: str) -> tuple[int, int]:
    """Decode the image; returns its upright width and height. Raises one of DECODE_ERRORS if it cannot be decoded.

    The pixels are cached for `pixels` unless they take more than CACHE_BYTES.
    """
    image = _open(data, kind)
    upright = _upright_size(image)
    _reduce(image, size_in_patches(upright))
    if _memory_bytes(image) <= CACHE_BYTES:
        size = image.size
        _decoded.put((sha256, *size), _decode_upright(image), _memory_bytes(image))
    else:
        _load_pixels(image)
    return upright


def pixels(
    data: bytes, kind: str, sha256: str, transform: Transform, at_least: tuple[int, int] | None = None
) -> "PILImage":
    """Upright RGB pixels after the transform. A JPEG without crop is decoded at 1/2, 1/4 or 1/8 if that is `at_least` as large."""
    image = _open(data, kind)
    crop = transform.source(_upright_size(image))
    if at_least and not crop:
        _reduce(image, transform.rotated_size(at_least))
    if cached := _decoded.get((sha256, *image.size)):
        upright = cached.crop(crop.edges) if crop else cached.copy()
    else:
        upright = _decode_upright(image, crop)
    return upright.transpose(_CLOCKWISE[transform.rotate]) if transform.rotate else upright


def is_complete_jpeg(data: bytes) -> bool:
    """Whether a baseline JPEG without an end marker has all its pixels.

    A decoder takes missing data from the bytes that follow: if two different fillings give the same pixels, none is
    missing.
    """
    body = data.rstrip(b"\xff")
    return len({_open(body + filling * 8192 + JPEG_END, "JPEG").tobytes() for filling in (b"\x00", b"\x5a")}) == 1


def _open(data: bytes, kind: str) -> "PILImage":
    """Pillow's image, not decoded yet. Only the plugin of the format is imported; Pillow itself would import all."""
    if kind == "WEBP":
        import PIL.WebPImagePlugin  # noqa: F401
    elif kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    return Pillow.open(io.BytesIO(data), formats=(kind,))


def _upright_size(image: "PILImage") -> tuple[int, int]:
    return image.size[::-1] if _orientation(image) >= 5 else image.size


def _reduce(image: "PILImage", at_least: tuple[int, int]) -> None:
    """Set up a JPEG's decoder to reduce the image, to a size not below `at_least` (upright)."""
    if image.format not in ("JPEG", "MPO"):  # for HEIC the embedded thumbnail would be used, which may differ
        return
    width, height = (max(1, side) for side in at_least)
    image.draft(None, (height, width) if _orientation(image) >= 5 else (width, height))


def _decode_upright(image: "PILImage", crop: Box | None = None) -> "PILImage":
    """Decode, crop, convert and rotate, in the order in which each step works on the fewest pixels."""
    raw_mode = _raw_mode(image)
    _load_pixels(image)
    orientation = _orientation(image)
    if crop:
        image = image.crop(_stored_box(crop, orientation, image.size))
    rgb = _to_rgb(image, raw_mode)
    result = rgb.transpose(_EXIF_TRANSPOSES[orientation]) if orientation in _EXIF_TRANSPOSES else rgb
    if isinstance(result, ImageFile):
        result = result.copy()  # without the file and the decoder's buffers
    result.info = {}  # no metadata is sent or saved
    return result


def _load_pixels(image: "PILImage") -> None:
    """Decode the pixels. Pictures too large for the cache are decoded one at a time: each may take a gigabyte (WebP)."""
    declared = image.size
    with _large_decode_lock if _memory_bytes(image) > CACHE_BYTES else nullcontext():
        image.load()
    if image.size != declared:  # seen in damaged HEIC
        raise ValueError("the decoder gives another size than the header")


def _raw_mode(image: "PILImage") -> str:
    """Pillow's name of the pixel format in the file, such as "RGB;16B"."""
    tiles = getattr(image, "tile", ())
    args = tiles[0][3] if tiles else ""
    return args if isinstance(args, str) else ""


def _to_rgb(image: "PILImage", raw_mode: str) -> "PILImage":
    """RGB pixels, transparent ones on a white background."""
    transparent = image.info.get("transparency")
    if image.mode.startswith("I"):
        return _from_grey16(image, transparent)
    if raw_mode == "RGB;16B" and transparent is not None:
        raise ValueError("a transparent colour of 16 bits, which Pillow compares with 8")
    if raw_mode in _GREY_STEPS and isinstance(transparent, int):
        image.info["transparency"] = transparent * _GREY_STEPS[raw_mode]
    if not image.has_transparency_data:
        image = to_srgb(image.convert("RGB") if image.mode == "P" else image)
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    ground = Pillow.new("RGB", image.size, "white")
    ground.paste(rgba, mask=rgba)
    ground.info["icc_profile"] = image.info.get("icc_profile")
    return to_srgb(ground)


def _from_grey16(image: "PILImage", transparent: int | None) -> "PILImage":
    """16-bit grey as 8-bit RGB; the transparent value becomes white."""
    table = [(value + 128) // 257 for value in range(65536)]
    if transparent is not None:
        table[transparent] = 255
    return image.convert("I").point(table, "L").convert("RGB")


def _orientation(image: "PILImage") -> int:
    """The EXIF orientation, 1–8; 1 (upright) if it is missing or malformed."""
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


def _stored_box(box: Box, orientation: int, stored: tuple[int, int]) -> tuple[int, int, int, int]:
    """The edges (left, top, right, bottom) of an upright box in the coordinates of the stored picture."""
    left, top, right, bottom = box.edges
    width, height = stored
    if orientation >= 5:
        left, top, right, bottom = top, left, bottom, right
    if orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def clear_cache() -> None:
    """Remove all decoded pictures from the cache."""
    _decoded.clear()


def cached_bytes() -> int:
    """The size of the cache of decoded pictures in bytes."""
    return _decoded.size


def _memory_bytes(picture: "PILImage") -> int:
    """The bytes of a picture's decoded pixels: Pillow uses four bytes for an RGB pixel."""
    return 4 * picture.width * picture.height
